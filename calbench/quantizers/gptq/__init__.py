"""GPTQ: weights rounded so that each layer's output on the quantization samples changes least.

The solver is this package's own, for decoders and encoders alike (``solver``, ``packed``,
``driver``). It reads nothing but ``nn.Linear`` layers inside the model's blocks, stores packed
codes, and reloads bit for bit. ``backend=gptqmodel`` lets gptqmodel choose a decoder's codes.

Why that is not the default: on one layer with the same inputs and damping both agree in output
error to 0.3% (first block of SmolLM2-135M, 4 bits, groups of 64, 128 texts), so that nothing is
gained, while gptqmodel handles no encoders, drops short texts unless told, takes longer, and picks
its inference kernel by what is installed: on a CPU 4 bits ran in bfloat16 and compiled first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from calbench.errors import InputError
from calbench.quantizers._availability import require
from calbench.quantizers._catalogue import register
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers._selection import check_group_size, matching, select

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples


Backend = Literal["calbench", "gptqmodel"]


@dataclass(frozen=True)
class Gptq:
    """Weights in integers of a few bits, one scale and zero point per group of input columns.

    Parameters
    ----------
    id
        Canonical.
    bits
        Width of a code.
    group_size
        Input columns that share a scale; must divide every layer's inputs; -1 is a whole row.
    sym
        Whether the grid is symmetric about 0.
    act_order
        Whether columns with large inputs are rounded first; groups stay whole, at no cost later.
    damp
        Added to the Hessian's diagonal, as a share of its mean.
    n_samples
        Quantization samples to read.
    backend
        Who chooses the codes: this package, for any model, or ``"gptqmodel"``, for decoders.
    skip, include
        Patterns; see :func:`calbench.quantizers._selection.select`.
    int8
        Patterns of quantized layers whose codes have 8 bits instead.
    """

    id: str
    _: KW_ONLY
    bits: int
    group_size: int = 64
    sym: bool = True
    act_order: bool = True
    damp: float = 0.01
    n_samples: int = 128
    skip: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    backend: Backend = "calbench"
    int8: tuple[str, ...] = ()

    stochastic = False
    batch_dependent = False
    kernel = "gptq codes dequantized once to float32, torch linear"

    def __post_init__(self) -> None:
        if self.group_size == 0 or self.group_size < -1:
            raise InputError(
                f"group_size={self.group_size} in {self.id!r}: use 64, 128, or -1 for whole rows"
            )
        if not 0 < self.damp < 10:
            raise InputError(f"damp={self.damp:g} in {self.id!r} is outside (0, 10); 0.01 is usual")
        if self.n_samples < 1:
            raise InputError(f"n_samples={self.n_samples} in {self.id!r}: GPTQ reads at least one sample")
        if self.backend == "gptqmodel" and not self.act_order:
            raise InputError(
                f"act_order=false in {self.id!r}: backend=gptqmodel always orders groups and columns"
                " by their inputs; leave act_order out"
            )
        if self.int8 and (self.bits == 8 or self.backend == "gptqmodel"):
            why = "all codes have 8 bits" if self.bits == 8 else "gptqmodel gives all layers the same bits"
            raise InputError(f"int8={'+'.join(self.int8)} in {self.id!r}: {why}; leave int8 out")

    @property
    def epsilon(self) -> float:
        """Half a step, relative to the largest weight of a group, in the layers with the fewest bits."""
        return 1 / (2 * ((1 << (self.bits - 1)) - 1)) if self.sym else 1 / ((1 << self.bits) - 1)

    @property
    def packages(self) -> tuple[str, ...]:
        """The backend, where it is not this package."""
        return ("gptqmodel",) if self.backend == "gptqmodel" else ()

    @property
    def format(self) -> WeightFormat:
        """The grid of every quantized layer that ``int8`` does not name."""
        return self._format(self.bits)

    def _format(self, bits: int) -> WeightFormat:
        group = f"g{self.group_size}" if self.group_size > 0 else "row"
        kind = "" if self.sym else "-asym"
        return WeightFormat(f"int{bits}-{group}{kind}", bits, max(self.group_size, 0))

    def check_available(self) -> None:
        """Need torch and transformers, and gptqmodel where it is the backend."""
        require(self.id, ("torch", "transformers"), extra="torch")
        require(self.id, self.packages, extra="gptq")

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Linear layers inside the blocks, less ``skip``, plus ``include``; groups must fit into them."""
        return tuple(self._bits_of(model))

    def _bits_of(self, model: nn.Module) -> dict[str, int]:
        names = select(model, skip=self.skip, include=self.include)
        check_group_size(model, names, self.group_size)
        wide = matching(model, self.int8, among=names)
        return {name: 8 if name in wide else self.bits for name in names}

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Load the source in float32 and quantize it block by block."""
        del seed
        from calbench.quantizers.gptq._driver import Settings, quantize_model

        if samples is None:
            raise InputError(f"{self.id} reads {self.n_samples} quantization samples; none were given")
        model: nn.Module = source.load()
        settings = Settings(self._bits_of(model), self.group_size, self.sym, self.act_order, self.damp)
        if self.backend == "gptqmodel":
            from calbench.quantizers.gptq._gptqmodel import quantize_with_gptqmodel

            quantize_with_gptqmodel(model, source, samples, settings)
        else:
            quantize_model(model, samples, settings)
        return model

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Layers with packed codes."""
        from calbench.quantizers.gptq._packed import PackedLinear

        return {n: self._format(m.bits) for n, m in model.named_modules() if isinstance(m, PackedLinear)}

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Unpack, shift and scale."""
        layer: Any = module
        weight: torch.Tensor = layer.dequantize()
        return weight

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Codes, zero points, scales and groups."""
        return {name: module.get_buffer(name) for name in ("qweight", "qzeros", "scales", "g_idx")}

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the packed layers; everything else is in the source."""
        from calbench.quantizers.gptq._files import save

        save(model, folder)

    def load(self, source: ModelSource, folder: Path) -> nn.Module:
        """Load the source and put the packed layers in their places."""
        from calbench.quantizers.gptq._files import load

        model: nn.Module = source.load()
        load(model, folder, bits=self._bits_of(model))
        return model


for _bits in (3, 4, 8):
    _what = f"Round weights to {_bits} bits column by column, spreading each error over the rest: GPTQ."
    register(f"gptq-int{_bits}", Gptq, _what, bits=_bits)
