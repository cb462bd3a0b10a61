"""HQQ: 8, 4 or 3 bits per weight, chosen without reading any data.

Source: Badri & Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023). The
package ``hqq`` chooses codes, scales and zero points and packs them; zero points are floating-point
numbers, which it fits so that few outliers do not spoil a group. transformers' own way to it
(``HqqConfig``) fails on a CPU, and hqq's layer keeps its state outside of torch's; the layer here
holds hqq's tensors as buffers and computes in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbench.errors import CorruptRecordError, InputError
from calbench.quantizers._availability import backend, require
from calbench.quantizers._catalogue import register
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers._selection import check_group_size, select

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples

_FILE = "quantized.safetensors"
_PARTS = ("qweight", "scale", "zero")


@dataclass(frozen=True)
class Hqq:
    """Weights in integers of a few bits, a scale and a fractional zero point per group of inputs.

    Parameters
    ----------
    id
        Canonical.
    bits
        Width of a code; 3-bit codes are stored ten to a 32-bit word.
    group_size
        Input columns that share a scale; must divide every layer's inputs.
    optimize
        Whether zero points are fitted; without it this is rounding to nearest.
    skip, include
        Patterns; see :func:`calbench.quantizers._selection.select`.
    """

    id: str
    _: KW_ONLY
    bits: int
    group_size: int = 64
    optimize: bool = True
    skip: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    n_samples = 0
    stochastic = False
    batch_dependent = False
    packages = ("hqq",)
    kernel = "hqq codes dequantized once to float32, torch linear"

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise InputError(f"group_size={self.group_size} in {self.id!r}: use 64, 32 or 128")

    @property
    def epsilon(self) -> float:
        """Half a step, relative to the largest weight of a group."""
        return 1 / ((1 << self.bits) - 1)

    def check_available(self) -> None:
        """Need hqq."""
        require(self.id, ("torch", "transformers"), extra="torch")
        require(self.id, ("hqq",), extra="hqq")

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Linear layers inside the blocks, less ``skip``, plus ``include``; groups must fit into them."""
        names = select(model, skip=self.skip, include=self.include)
        check_group_size(model, names, self.group_size)
        return names

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Load the source in float32 and swap the layers, one at a time."""
        del samples, seed
        from calbench.quantizers._hqq_layer import HqqLinear
        from calbench.quantizers._layers import put

        model: nn.Module = source.load()
        library = _library()
        # hqq's own settings for the width; axis 1 is along the inputs, as everywhere here.
        settings = library.BaseQuantizeConfig(nbits=self.bits, group_size=self.group_size, axis=1)
        options = settings["weight_quant_params"] | {"optimize": self.optimize}
        for name in self.targets(model):
            layer: Any = model.get_submodule(name)
            weight = layer.weight.data
            codes, meta = library.Quantizer.quantize(weight, device=str(weight.device), **options)
            tensors = {"qweight": codes, "scale": meta["scale"].half(), "zero": meta["zero"].half()}
            put(model, name, HqqLinear(layer, library.Quantizer, self.bits, self.group_size, tensors))
        return model.eval()

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Layers with hqq's codes."""
        from calbench.quantizers._hqq_layer import HqqLinear

        format_ = WeightFormat(f"hqq{self.bits}-g{self.group_size}", self.bits, self.group_size)
        return {n: format_ for n, m in model.named_modules() if isinstance(m, HqqLinear)}

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Unpack, shift and scale, by hqq."""
        layer: Any = module
        weight: torch.Tensor = layer.dequantize()
        return weight

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Codes, scales and zero points."""
        return {name: module.get_buffer(name) for name in _PARTS}

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the quantized layers; everything else is in the source."""
        from safetensors.torch import save_file

        layers = self.describe(model)
        tensors = {f"{n}.{part}": model.get_submodule(n).get_buffer(part) for n in layers for part in _PARTS}
        save_file(tensors, folder / _FILE, metadata={"format": "pt"})

    def load(self, source: ModelSource, folder: Path) -> nn.Module:
        """Load the source and put the quantized layers in their places."""
        from safetensors.torch import load_file

        from calbench.quantizers._hqq_layer import HqqLinear
        from calbench.quantizers._layers import put

        model: nn.Module = source.load()
        library = _library()
        tensors = load_file(folder / _FILE)
        names = self.targets(model)
        if set(tensors) != {f"{name}.{part}" for name in names for part in _PARTS}:
            raise CorruptRecordError(f"{folder / _FILE}: its layers are not those that {self.id} quantizes")
        for name in names:
            parts = {part: tensors[f"{name}.{part}"] for part in _PARTS}
            layer = model.get_submodule(name)
            put(model, name, HqqLinear(layer, library.Quantizer, self.bits, self.group_size, parts))
        return model.eval()


def _library() -> Any:
    return backend("hqq", "hqq.core.quantize", extra="hqq")


for _bits in (3, 4, 8):
    _what = f"Round weights to {_bits} bits with zero points found by half-quadratic splitting: HQQ."
    register(f"hqq-int{_bits}", Hqq, _what, bits=_bits)
