"""A linear layer that holds hqq's packed codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from calbench.quantizers._layers import DequantizedLinear


class HqqLinear(DequantizedLinear):
    """A linear layer with hqq's codes, scales and zero points.

    Parameters
    ----------
    layer
        The float layer whose shape and bias this one has.
    unpacker
        ``hqq.core.quantize.Quantizer``.
    bits, group_size
        Of the codes.
    tensors
        ``qweight`` (as hqq packs it), ``scale`` and ``zero`` (float16, one per group).
    """

    qweight: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor

    def __init__(
        self, layer: Any, unpacker: Any, bits: int, group_size: int, tensors: Mapping[str, torch.Tensor]
    ) -> None:
        super().__init__(
            layer.in_features, layer.out_features, bits=bits, group_size=group_size, bias=layer.bias
        )
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.contiguous())
        self._unpacker = unpacker

    def dequantize(self) -> torch.Tensor:
        """Return the weight, ``(out_features, in_features)`` float32."""
        packing = self._unpacker.bit_to_packing[self.bits]
        meta = {
            "nbits": self.bits,
            "group_size": self.group_size,
            "axis": 1,
            "shape": (self.out_features, self.in_features),
            "packing": packing,
            "unpack_view_dtype": self._unpacker.unpack_view_dtype[packing],
            "view_as_float": False,
            "compute_dtype": torch.float32,
            "scale": self.scale.float(),
            "zero": self.zero.float(),
        }
        weight: torch.Tensor = self._unpacker.dequantize(self.qweight, meta)
        return weight
