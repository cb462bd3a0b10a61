"""A linear layer that holds hqq's packed codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class HqqLinear(nn.Module):
    """``x @ W.T + b`` with ``W`` kept as hqq's codes, scales and zero points, computed in float32.

    The weight is dequantized on the first forward and that copy is kept.

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
        super().__init__()
        self.in_features: int = layer.in_features
        self.out_features: int = layer.out_features
        self.bits, self.group_size = bits, group_size
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.contiguous())
        self.bias: nn.Parameter | None = layer.bias
        self.dequantized_copy: torch.Tensor | None = None
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer's output, in the input's type."""
        if self.dequantized_copy is None:
            # A tensor made in inference mode could not be trained through later.
            with torch.inference_mode(mode=False), torch.no_grad():
                self.dequantized_copy = self.dequantize()
        return nn.functional.linear(x, self.dequantized_copy.to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        """Shape and format, for printing."""
        return f"{self.in_features}, {self.out_features}, bits={self.bits}, group_size={self.group_size}"
