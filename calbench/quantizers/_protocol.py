"""What a quantizer is: the members that calbench calls, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

Runtime = Literal["torch", "llama.cpp"]

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples


@dataclass(frozen=True)
class WeightFormat:
    """The grid that a module's weights are claimed to lie on.

    Parameters
    ----------
    name
        For reports, such as ``"nf4"`` or ``"int4-g64"``.
    bits
        Width of one stored value; a group holds at most ``2**bits`` distinct values.
    group_size
        How many consecutive weights share a scale, counted over the row-major weight
        ``(out_features, in_features)``; 0 is a whole row. Unused where ``dtype`` is set.
    dtype
        Name of the floating type whose values are the grid (``"bfloat16"``), for plain casts.
    column_order
        Order of the input columns in which groups are consecutive, where they are not as stored
        (GPTQ with ``desc_act``); None otherwise.
    """

    name: str
    bits: int
    group_size: int = 0
    dtype: str | None = None
    column_order: tuple[int, ...] | None = None


class Quantizer(Protocol):
    """Turns a model source into a quantized model; see ``docs`` of each member for the contract.

    The registered factory is called with the canonical id and then, by keyword, the arguments that
    the id gives; its keyword parameters, their annotations and defaults are the arguments.
    """

    @property
    def id(self) -> str:
        """The canonical id, with the arguments that differ from their defaults."""
        ...

    @property
    def epsilon(self) -> float:
        """Largest rounding error of one weight, as a share of its group's largest magnitude."""
        ...

    @property
    def n_samples(self) -> int:
        """How many quantization samples :meth:`build` reads; 0 for none."""
        ...

    @property
    def stochastic(self) -> bool:
        """Whether the seed changes the outcome; it is then part of the model's identity."""
        ...

    @property
    def batch_dependent(self) -> bool:
        """Whether an item's logits may depend on what else is in its batch."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions, besides torch and transformers, whose version may change the outcome."""
        ...

    @property
    def kernel(self) -> str:
        """The code path that computes a quantized layer, in words, for the report."""
        ...

    def check_available(self) -> None:
        """Raise :class:`BackendUnavailableError`, naming the extra to install, if it cannot run."""
        ...

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Names of the modules of a full-precision ``model`` that are meant to be quantized."""
        ...

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Load the source and quantize it; the result is in evaluation mode."""
        ...

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Map the name of each quantized module of ``model`` to the format it now has."""
        ...

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Return a quantized module's weight as float32 ``(out_features, in_features)``."""
        ...

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Every tensor that a quantized module's weight is kept in: codes, scales, zero points."""
        ...


@runtime_checkable
class SavesCheckpoints(Quantizer, Protocol):
    """What a quantizer has besides, where quantizing takes long enough to be done only once."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the quantized weights into an empty folder; nothing is read with pickle."""
        ...

    def load(self, source: ModelSource, folder: Path) -> nn.Module:
        """Return the model that :meth:`save` wrote, bit for bit, in evaluation mode."""
        ...


@runtime_checkable
class RunsElsewhere(Quantizer, Protocol):
    """What a quantizer has besides, where torch builds and proves the weights and another runtime answers."""

    @property
    def runtime(self) -> Runtime:
        """``"torch"``, or ``"llama.cpp"`` for the same weights in its arithmetic."""
        ...

    @property
    def kv(self) -> str:
        """Type of the other runtime's key-value cache."""
        ...


@runtime_checkable
class ReadsFiles(Quantizer, Protocol):
    """What a quantizer has besides, where it reads files of its own: their content identifies it."""

    @property
    def files_hash(self) -> str:
        """SHA-256 over all that it reads besides the source."""
        ...


@runtime_checkable
class ScalesColumns(Quantizer, Protocol):
    """What a quantizer has besides, where columns are multiplied before they are rounded to the grid."""

    def stored_weight(self, module: nn.Module) -> torch.Tensor:
        """Return what is on the grid: the weight, before columns are scaled back; float32."""
        ...
