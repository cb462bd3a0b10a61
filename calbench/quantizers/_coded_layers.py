"""Linear layers in 8-bit integers, 8-bit floats and 4-bit floats: encoders, decoders, rounded inputs.

Sources: Micikevicius et al., "FP8 Formats for Deep Learning" (2022); OCP Microscaling Formats (MX)
v1.0 (2023) for MXFP4; NVIDIA's NVFP4, which scales 16 weights by an E4M3 number and those by one
float32 for the tensor.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from calbench.quantizers._layers import RoundingLinear
from calbench.quantizers._protocol import WeightFormat

Scaling = Literal["channel", "tensor"]

# The magnitudes of a 4-bit float with two exponent bits and one of mantissa; a fourth bit is the sign.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_MX_GROUP, _NV_GROUP = 32, 16


class Int8Linear(RoundingLinear):
    """Symmetric 8-bit integers ``codes`` and a float32 ``scale`` per row."""

    codes: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def encoded(
        cls, layer: Any, *, rounds_inputs: bool, column_scale: torch.Tensor | None = None
    ) -> Int8Linear:
        """Round a float layer, its columns multiplied first where a scale is given."""
        weight = layer.weight.detach().float()
        if column_scale is not None:
            weight = weight * column_scale
        codes, scale = _int8(weight)
        tensors = {"codes": codes.to(torch.int8), "scale": scale}
        if column_scale is not None:
            tensors["column_scale"] = column_scale
        return cls(layer, WeightFormat("int8-row", 8), tensors, rounds_inputs=rounds_inputs)

    def decode(self) -> torch.Tensor:
        """Codes times their row's scale."""
        return self.codes.float() * self.scale

    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Round each token to symmetric 8-bit integers of its own scale."""
        codes, scale = _int8(x.float())
        return (codes * scale).to(x.dtype)


class Fp8Linear(RoundingLinear):
    """8-bit floats ``codes`` and a float32 ``scale`` per row, or one for all."""

    codes: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def encoded(cls, layer: Any, name: str, *, scaling: Scaling, rounds_inputs: bool) -> Fp8Linear:
        """Round a float layer to ``float8_<name>``."""
        kind = getattr(torch, f"float8_{name}")
        codes, scale = _fp8(layer.weight.detach().float(), kind, by_row=scaling == "channel")
        format_ = WeightFormat(f"fp8-{name.removesuffix('fn')}-{scaling}", 8)
        return cls(layer, format_, {"codes": codes, "scale": scale}, rounds_inputs=rounds_inputs)

    def decode(self) -> torch.Tensor:
        """Codes times the scale."""
        return self.codes.float() * self.scale

    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Round each token to the weight's type, with a scale of its own."""
        codes, scale = _fp8(x.float(), self.codes.dtype, by_row=True)
        return (codes.float() * scale).to(x.dtype)


class Mxfp4Linear(RoundingLinear):
    """4-bit floats, two to a byte, and for 32 of them the exponent of a power of two."""

    codes: torch.Tensor
    exponents: torch.Tensor

    @classmethod
    def encoded(cls, layer: Any, *, rounds_inputs: bool) -> Mxfp4Linear:
        """Round a float layer."""
        weight = layer.weight.detach().float()
        codes, exponents = _mxfp4(weight)
        tensors = {"codes": _packed(codes), "exponents": (exponents + 127).to(torch.uint8)}
        return cls(layer, WeightFormat("mxfp4", 4, _MX_GROUP), tensors, rounds_inputs=rounds_inputs)

    def decode(self) -> torch.Tensor:
        """Value of each code times its group's power of two."""
        return _scaled(_values(_unpacked(self.codes)), torch.exp2(self.exponents.float() - 127), _MX_GROUP)

    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Round each token to the same format."""
        codes, exponents = _mxfp4(x.float())
        return _scaled(_values(codes), torch.exp2(exponents), _MX_GROUP).to(x.dtype)


class Nvfp4Linear(RoundingLinear):
    """4-bit floats, two to a byte; an E4M3 scale for 16 of them, and a float32 one for the tensor."""

    codes: torch.Tensor
    scales: torch.Tensor
    tensor_scale: torch.Tensor

    @classmethod
    def encoded(cls, layer: Any, *, rounds_inputs: bool) -> Nvfp4Linear:
        """Round a float layer."""
        weight = layer.weight.detach().float()
        codes, scales, tensor_scale = _nvfp4(weight, weight.abs().amax().reshape(1))
        tensors = {"codes": _packed(codes), "scales": scales, "tensor_scale": tensor_scale}
        return cls(layer, WeightFormat("nvfp4", 4, _NV_GROUP), tensors, rounds_inputs=rounds_inputs)

    def decode(self) -> torch.Tensor:
        """Value of each code times its group's scale times the tensor's."""
        return _scaled(_values(_unpacked(self.codes)), self.scales.float() * self.tensor_scale, _NV_GROUP)

    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Round each token to the same format, its outer scale a token's instead of a tensor's."""
        codes, scales, outer = _nvfp4(x.float(), x.float().abs().amax(dim=-1, keepdim=True))
        return _scaled(_values(codes), scales.float() * outer, _NV_GROUP).to(x.dtype)


def _int8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = _positive(x.abs().amax(dim=-1, keepdim=True) / 127)
    return (x / scale).round().clamp_(-127, 127), scale


def _fp8(x: torch.Tensor, kind: torch.dtype, *, by_row: bool) -> tuple[torch.Tensor, torch.Tensor]:
    largest = torch.finfo(kind).max
    peak = x.abs().amax(dim=-1, keepdim=True) if by_row else x.abs().amax().reshape(1, 1)
    scale = _positive(peak / largest)
    # Beyond the largest value e4m3 has NaN and e5m2 infinity.
    return (x / scale).clamp(-largest, largest).to(kind), scale


def _mxfp4(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    grouped = _grouped(x, _MX_GROUP)
    peak = grouped.abs().amax(dim=-1)
    # The largest magnitude is 6 = 1.5 * 2**2; E8M0 holds exponents from -127 on.
    exponents = torch.where(peak > 0, torch.frexp(peak)[1].float() - 1 - 2, -127).clamp(-127, 127)
    return _nearest(grouped / torch.exp2(exponents).unsqueeze(-1)).flatten(-2), exponents


def _nvfp4(x: torch.Tensor, peak: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    outer = _positive(peak / (6 * torch.finfo(torch.float8_e4m3fn).max))
    grouped = _grouped(x, _NV_GROUP)
    scales = (grouped.abs().amax(dim=-1) / 6 / outer).to(torch.float8_e4m3fn)
    steps = _positive(scales.float() * outer)
    return _nearest(grouped / steps.unsqueeze(-1)).flatten(-2), scales, outer


def _nearest(x: torch.Tensor) -> torch.Tensor:
    """Codes of the nearest E2M1 values: three bits of magnitude, and 8 for a minus; uint8."""
    values = torch.tensor(E2M1, device=x.device)
    magnitude = torch.bucketize(x.abs().contiguous(), (values[1:] + values[:-1]) / 2)
    return (magnitude + 8 * (x < 0)).to(torch.uint8)


def _values(codes: torch.Tensor) -> torch.Tensor:
    table = torch.tensor((*E2M1, *(-value for value in E2M1)), device=codes.device)
    return table[codes.long()]


def _scaled(values: torch.Tensor, scales: torch.Tensor, group_size: int) -> torch.Tensor:
    return (_grouped(values, group_size) * scales.unsqueeze(-1)).flatten(-2)


def _grouped(x: torch.Tensor, size: int) -> torch.Tensor:
    return x.reshape(*x.shape[:-1], -1, size)


def _packed(codes: torch.Tensor) -> torch.Tensor:
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def _unpacked(packed: torch.Tensor) -> torch.Tensor:
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def _positive(scale: torch.Tensor) -> torch.Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))
