"""What formats that swap one linear layer for another at a time have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal

from calbench.quantizers._availability import require
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers._selection import select

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples

Activations = Literal["none", "dynamic"]


@dataclass(frozen=True)
class SwapsLayers(ABC):
    """A format whose layers are :class:`~calbench.quantizers._layers.CodedLinear`.

    Parameters
    ----------
    id
        Canonical.
    skip, include
        Patterns; see :func:`calbench.quantizers._selection.select`.
    activations
        ``"dynamic"`` rounds what the layers read too, each token with a scale of its own.
    """

    id: str
    _: KW_ONLY
    skip: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    activations: Activations = "none"

    n_samples = 0
    stochastic = False
    batch_dependent = False

    @property
    @abstractmethod
    def epsilon(self) -> float:
        """Largest half-step of the grid, as a share of a group's largest magnitude."""

    @property
    def kernel(self) -> str:
        """Torch's product of what the codes, and those of the inputs, stand for."""
        inputs = "inputs rounded per token, " if self.activations == "dynamic" else ""
        return f"{inputs}codes decoded once to float32, torch linear"

    def check_available(self) -> None:
        """Need torch and transformers."""
        require(self.id, ("torch", "transformers"), extra="torch")

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Linear layers inside the blocks, less ``skip``, plus ``include``."""
        return select(model, skip=self.skip, include=self.include)

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Load the source in float32 and swap the layers, one at a time."""
        del seed
        from calbench.quantizers._layers import put

        self.check_available()
        model: nn.Module = source.load()
        plan = self.plan(model, samples)
        for name, how in plan.items():
            put(model, name, self.swapped(model.get_submodule(name), how))
        return model.eval()

    def plan(self, model: nn.Module, samples: QuantizationSamples | None = None) -> Mapping[str, Any]:
        """Give each target what :meth:`swapped` has to know of it besides the layer."""
        del samples
        return dict.fromkeys(self.targets(model))

    @abstractmethod
    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the quantized layer for a float one."""

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Swapped layers, by name."""
        from calbench.quantizers._layers import CodedLinear

        return {n: m.format for n, m in model.named_modules() if isinstance(m, CodedLinear)}

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Decode."""
        layer: Any = module
        weight: torch.Tensor = layer.dequantize()
        return weight

    def stored_weight(self, module: nn.Module) -> torch.Tensor:
        """Decode, without undoing what columns were multiplied by before they were rounded."""
        layer: Any = module
        weight: torch.Tensor = layer.decode()
        return weight

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Codes, scales and whatever else is stored."""
        return dict(module.named_buffers(recurse=False))
