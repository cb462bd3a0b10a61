"""AWQ: 4-bit integers whose columns were scaled by how large the layer's inputs are.

Source: Lin et al., "AWQ: Activation-aware Weight Quantization for On-Device LLM Compression and
Acceleration", MLSys 2024 (arXiv 2306.00978), equations 4 and 5. A column of the weight that meets
large inputs is multiplied by ``s_j`` before it is rounded to the nearest, and the inputs are divided
by it: the rounding error that it contributes shrinks. ``s = mean|X|**a``, and ``a`` is searched for in
20 steps, so that the layer's output on the quantization samples changes least. The published code
folds ``s`` into the layer before; here each layer keeps its own, which works for any ``nn.Linear``
and is counted in its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbench.errors import CorruptRecordError, InputError
from calbench.quantizers._catalogue import register
from calbench.quantizers._selection import check_group_size, select
from calbench.quantizers._swapped_layers import SwapsLayers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples

_FILE = "quantized.safetensors"


@dataclass(frozen=True, kw_only=True)
class Awq(SwapsLayers):
    """4-bit integers, a scale and a zero point per group, a factor per input column.

    Parameters
    ----------
    group_size
        Input columns that share a scale; must divide every layer's inputs.
    sym
        Whether the grid is symmetric about 0; published AWQ checkpoints have zero points.
    n_samples
        Quantization samples to read.
    """

    group_size: int = 64
    sym: bool = False
    n_samples: int = 128

    packages = ()

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise InputError(f"group_size={self.group_size} in {self.id!r}: use 64, 32 or 128")
        if self.n_samples < 1:
            raise InputError(f"n_samples={self.n_samples} in {self.id!r}: AWQ reads at least one sample")

    @property
    def epsilon(self) -> float:
        """Half a step, relative to the largest weight of a group."""
        return 1 / 14 if self.sym else 1 / 15

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Linear layers inside the blocks, less ``skip``, plus ``include``; groups must fit into them."""
        names = select(model, skip=self.skip, include=self.include)
        check_group_size(model, names, self.group_size)
        return names

    def plan(self, model: nn.Module, samples: QuantizationSamples | None = None) -> Mapping[str, Any]:
        """What each layer reads on the samples."""
        from calbench.quantizers._layer_inputs import measured

        if samples is None:
            raise InputError(f"{self.id} reads {self.n_samples} quantization samples; none were given")
        return measured(model, self.targets(model), samples, moments=True)

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer with the scales that change its output least."""
        from calbench.quantizers._awq_layer import AwqLinear, searched
        from calbench.quantizers.gptq._solver import Grid, round_to_nearest

        grid = Grid(4, self.group_size, self.sym)
        weight = layer.weight.detach().float()
        scale = searched(weight, how, grid)
        return AwqLinear.from_scaled(layer, round_to_nearest(weight * scale, grid), scale, symmetric=self.sym)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the quantized layers; everything else is in the source."""
        from safetensors.torch import save_file

        tensors = {
            f"{name}.{part}": tensor
            for name in self.describe(model)
            for part, tensor in self.weight_tensors(model.get_submodule(name)).items()
        }
        save_file(tensors, folder / _FILE, metadata={"format": "pt"})

    def load(self, source: ModelSource, folder: Path) -> nn.Module:
        """Load the source and put the quantized layers in their places."""
        from safetensors.torch import load_file

        from calbench.quantizers._awq_layer import PARTS, AwqLinear
        from calbench.quantizers._layers import put

        model: nn.Module = source.load()
        tensors: dict[str, torch.Tensor] = load_file(folder / _FILE)
        names = self.targets(model)
        if set(tensors) != {f"{name}.{part}" for name in names for part in PARTS}:
            raise CorruptRecordError(f"{folder / _FILE}: its layers are not those that {self.id} quantizes")
        for name in names:
            parts = {part: tensors[f"{name}.{part}"] for part in PARTS}
            put(model, name, AwqLinear(model.get_submodule(name), parts, self.group_size, symmetric=self.sym))
        return model.eval()


register(
    "awq-int4", Awq, "Scale columns by the size of what they meet, then round to nearest.", activations="none"
)
