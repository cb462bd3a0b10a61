"""Linear layers that keep a published checkpoint's tensors as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from calbench.errors import InputError
from calbench.quantizers._availability import backend
from calbench.quantizers._layers import CodedLinear, RoundingLinear
from calbench.quantizers._protocol import WeightFormat

# The columns of eight codes in a word, least significant first.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


class CompressedLinear(RoundingLinear):
    """A layer of compressed-tensors, decoded and its inputs rounded by that package.

    Parameters
    ----------
    layer
        The float layer whose shape and bias this one has.
    tensors
        As stored.
    scheme
        The package's ``QuantizationScheme``.
    kind
        Name of its compressor.
    """

    def __init__(self, layer: Any, tensors: Mapping[str, torch.Tensor], scheme: Any, kind: str) -> None:
        rounds = scheme.input_activations is not None
        super().__init__(layer, _format_of_scheme(scheme.weights), tensors, rounds_inputs=rounds)
        library = backend("checkpoint", "compressed_tensors.compressors", extra="compressed-tensors")
        self._compressor, self._scheme = library.BaseCompressor.load_from_registry(kind), scheme

    def decode(self) -> torch.Tensor:
        """Let the package decode."""
        stored = dict(self.named_buffers(recurse=False))
        weight: torch.Tensor = self._compressor.decompress(stored, self._scheme)["weight"]
        return weight.float()

    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Let the package round, per token or by the stored scale."""
        forward = backend(
            "checkpoint", "compressed_tensors.quantization.lifecycle.forward", extra="compressed-tensors"
        )
        args, outer = self._scheme.input_activations, getattr(self, "input_global_scale", None)
        if args.dynamic:
            scale, zero = forward.compute_dynamic_scales_and_zp(
                value=x, args=args, module=self, global_scale=outer
            )
        else:
            scale, zero = self.get_buffer("input_scale"), getattr(self, "input_zero_point", None)
        rounded: torch.Tensor = forward.fake_quantize(
            x=x, scale=scale, zero_point=zero, args=args, global_scale=outer
        )
        return rounded.to(x.dtype)


class SquareFp8Linear(RoundingLinear):
    """E4M3 weights and a float32 scale for each square; inputs in E4M3 too, by 128 columns of a token."""

    qweight: torch.Tensor
    weight_scale_inv: torch.Tensor

    def __init__(self, layer: Any, tensors: Mapping[str, torch.Tensor], square: tuple[int, int]) -> None:
        if tensors["weight"].dtype != torch.float8_e4m3fn:
            raise InputError(
                f"a weight that should be float8_e4m3fn is {tensors['weight'].dtype}; it is not quantized"
            )
        format_ = WeightFormat(f"fp8-e4m3-{square[0]}x{square[1]}", 8, min(square[1], layer.in_features))
        # Under the layer's own name the codes would hide behind the decoded weight.
        stored = {"qweight" if name == "weight" else name: tensor for name, tensor in tensors.items()}
        super().__init__(layer, format_, stored, rounds_inputs=True)
        self._square = square

    def decode(self) -> torch.Tensor:
        """Codes times their square's scale."""
        rows, columns = self._square
        scale = self.weight_scale_inv.float().repeat_interleave(rows, 0).repeat_interleave(columns, 1)
        return self.qweight.float() * scale[: self.out_features, : self.in_features]

    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Round to E4M3, with a scale for each 128 columns of a token."""
        size = self._square[1]
        rows = torch.nn.functional.pad(x.float(), (0, -x.shape[-1] % size))
        grouped = rows.reshape(*rows.shape[:-1], -1, size)
        scale = (grouped.abs().amax(dim=-1, keepdim=True) / 448).clamp_min(1e-12)
        rounded = (grouped / scale).to(torch.float8_e4m3fn).float() * scale
        return rounded.reshape(rows.shape)[..., : x.shape[-1]].to(x.dtype)


class AwqGemmLinear(CodedLinear):
    """AutoAWQ's 4-bit layout: eight output columns to a word, in an order of the kernels' own."""

    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor

    def __init__(self, layer: Any, tensors: Mapping[str, torch.Tensor]) -> None:
        group_size = layer.in_features // len(tensors["scales"])
        super().__init__(layer, WeightFormat(f"awq4-g{group_size}-asym", 4, group_size), tensors)

    def decode(self) -> torch.Tensor:
        """Unpack, shift and scale."""
        codes, zeros = _unpacked(self.qweight), _unpacked(self.qzeros)
        group = torch.arange(self.in_features, device=codes.device) // self.group_size
        return ((codes - zeros[group]) * self.scales.float()[group]).T.contiguous()


def _unpacked(words: torch.Tensor) -> torch.Tensor:
    """``(n, m / 8)`` int32 to ``(n, m)`` float codes."""
    codes = torch.empty(*words.shape, 8, device=words.device)
    for place, column in enumerate(_AWQ_ORDER):
        codes[..., column] = ((words >> (4 * place)) & 15).float()
    return codes.reshape(len(words), -1)


def _format_of_scheme(weights: Any) -> WeightFormat:
    """The grid that a scheme of compressed-tensors describes."""
    group = weights.group_size if weights.group_size and weights.group_size > 0 else 0
    block = getattr(weights, "block_structure", None)
    if block:
        group = int(block[1])
    shared = f"g{group}" if group else str(getattr(weights.strategy, "value", weights.strategy))
    kind = getattr(weights.type, "value", weights.type)
    return WeightFormat(f"ct-{kind}{weights.num_bits}-{shared}", weights.num_bits, group)
