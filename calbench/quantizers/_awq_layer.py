"""A linear layer with AWQ's codes, and the search for its scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from calbench.errors import InputError
from calbench.quantizers._layer_inputs import LayerInputs
from calbench.quantizers._layers import CodedLinear
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers.gptq._packed import pack, unpack
from calbench.quantizers.gptq._solver import Codes, Grid, round_to_nearest

PARTS = ("qweight", "qzeros", "scales", "column_scale")
_BITS, _STEPS = 4, 20


class AwqLinear(CodedLinear):
    """A linear layer with packed 4-bit codes, scales, zero points, and a factor per input column.

    Parameters
    ----------
    layer
        The float layer whose shape and bias this one has.
    tensors
        :data:`PARTS`; all but the last as in :class:`~calbench.quantizers.gptq._packed.PackedLinear`.
    group_size
        Input columns that share a scale.
    symmetric
        Whether the grid is.
    """

    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor
    column_scale: torch.Tensor

    def __init__(
        self, layer: Any, tensors: Mapping[str, torch.Tensor], group_size: int, *, symmetric: bool
    ) -> None:
        kind = "" if symmetric else "-asym"
        super().__init__(layer, WeightFormat(f"awq4-g{group_size}{kind}", _BITS, group_size), tensors)

    @classmethod
    def from_scaled(cls, layer: Any, codes: Codes, scale: torch.Tensor, *, symmetric: bool) -> AwqLinear:
        """Pack the codes of a weight whose columns were multiplied by ``scale``."""
        tensors = {
            "qweight": pack(codes.codes.T, _BITS),
            "qzeros": pack(codes.zeros, _BITS).T.contiguous(),
            "scales": codes.scales.T.contiguous(),
            "column_scale": scale,
        }
        return cls(layer, tensors, layer.in_features // codes.scales.shape[1], symmetric=symmetric)

    def decode(self) -> torch.Tensor:
        """Unpack, shift and scale."""
        codes = unpack(self.qweight, _BITS, self.in_features)
        zeros = unpack(self.qzeros.T, _BITS, self.out_features)
        return Codes(codes.T, self.scales.T, zeros).dequantize()


def searched(weight: torch.Tensor, inputs: LayerInputs, grid: Grid) -> torch.Tensor:
    """Find the scales ``mean|X|**a`` whose rounding changes the layer's output least.

    The squared change of the output is ``tr(E M E^T)``, with ``E`` the weight's error and ``M`` the
    inputs' second moment. Scales are divided by the root of the product of the largest and the
    smallest, as in the published code, so that they centre on 1; ``a = 0`` is rounding to nearest.
    """
    mean, moment = inputs.magnitude / inputs.n_tokens, inputs.moment
    if moment is None:
        raise InputError("the search needs the inputs' second moment; measure them with moments=True")
    best, least = torch.ones_like(mean), float("inf")
    for step in range(_STEPS):
        scale = mean.pow(step / _STEPS).clamp_min(1e-4)
        # Stored as bfloat16 would be too coarse and float32 more than needed.
        scale = (scale / (scale.max() * scale.min()).sqrt()).half()
        error = round_to_nearest(weight * scale, grid).dequantize() / scale - weight
        loss = float(((error @ moment) * error).sum())
        if loss < least:
            best, least = scale, loss
    return best
