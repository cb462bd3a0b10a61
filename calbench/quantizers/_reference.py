"""A model at full precision, loaded once: asked the probe, then handed to the quantizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calbench.models import ModelSource
from calbench.quantizers._probe import probe_logits
from calbench.quantizers._protocol import Quantizer
from calbench.quantizers._selection import weights_to_cover

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, eq=False)
class Reference:
    """What a proof compares with.

    Parameters
    ----------
    weights
        Of the layers that are meant to be quantized, by name. On a CPU they are the loaded model's own, which
        are pages of its file: they take no memory of their own.
    logits
        On the probe.
    coverage
        Share of all weights outside embeddings and heads that is meant to be quantized.
    """

    weights: Mapping[str, torch.Tensor]
    logits: torch.Tensor
    coverage: float
    _marks: Mapping[str, tuple[int, float]]

    @classmethod
    def of(cls, quantizer: Quantizer, module: nn.Module, probe: Sequence[Sequence[int]]) -> Reference:
        """Ask the probe, and keep the weights in the machine's memory: never are two models on a GPU."""
        targets = quantizer.targets(module)
        weights = {
            name: module.get_submodule(name).get_parameter("weight").detach().cpu() for name in targets
        }
        sizes, meant = weights_to_cover(module), set(targets)
        covered = sum(size for name, size in sizes.items() if name.rpartition(".")[0] in meant)
        marks = {name: _mark(weight) for name, weight in weights.items()}
        return cls(weights, probe_logits(module, probe), covered / max(1, sum(sizes.values())), marks)

    @property
    def untouched(self) -> bool:
        """Whether the quantizer left the tensors that it was given as they were, and took others instead."""
        return all(self._marks[name] == _mark(weight) for name, weight in self.weights.items())


def opened_reference(
    quantizer: Quantizer, source: ModelSource, probe: Sequence[Sequence[int]]
) -> tuple[Reference, ModelSource]:
    """Load a model and ask it; the source that is returned gives it to whoever loads it first."""
    module = source.load()
    return Reference.of(quantizer, module, probe), _Opened.of(source, module)


def _mark(weight: torch.Tensor) -> tuple[int, float]:
    # Torch counts changes in place, but not those that are made through ``.data``.
    return weight._version, float(weight.norm())


class _Opened(ModelSource):
    """A source whose model is loaded already: the first to load it in float32 is given that."""

    @classmethod
    def of(cls, source: ModelSource, module: nn.Module) -> _Opened:
        """Return the same source with its model."""
        opened = cls.__new__(cls)
        opened.__dict__.update(source.__dict__, modules=[module])  # with the hashes that it knows
        return opened

    def load(self, dtype: torch.dtype | None = None) -> Any:
        """See :class:`ModelSource`."""
        modules: list[Any] = self.__dict__.get("modules", [])
        kept = modules.pop() if modules else None
        if kept is None or dtype not in (None, kept.dtype):
            return super().load(dtype)
        return kept
