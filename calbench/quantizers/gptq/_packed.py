"""A linear layer whose weight is packed integer codes, in the layout of GPTQ checkpoints.

Codes are a stream of bits, least significant first, over 32-bit words: along the input dimension
for ``qweight``, along the output dimension for ``qzeros``. Zero points are stored as they are (the
``gptq_v2`` convention; AutoGPTQ's first format stores them less one).
"""

from __future__ import annotations

import torch
from torch import nn

from calbench.quantizers._layers import DequantizedLinear
from calbench.quantizers.gptq._solver import Codes

_CHUNK = 32  # codes; they fill exactly ``bits`` words


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack ``(n, m)`` codes along the first dimension into int32 ``(ceil(n / 32) * bits, m)``.

    >>> pack(torch.tensor([[1], [2]]), 4)[0].item()
    33
    """
    n, m = codes.shape
    chunks = -(-n // _CHUNK)
    padded = torch.zeros(chunks * _CHUNK, m, dtype=torch.int64, device=codes.device)
    padded[:n] = codes
    padded = padded.reshape(chunks, _CHUNK, m)
    words = torch.zeros(chunks, bits, m, dtype=torch.int64, device=codes.device)
    for index in range(_CHUNK):
        word, shift = divmod(index * bits, 32)
        words[:, word] |= padded[:, index] << shift
        if shift + bits > 32:
            words[:, word + 1] |= padded[:, index] >> (32 - shift)
    words &= 0xFFFFFFFF
    words[words >= 1 << 31] -= 1 << 32
    return words.reshape(chunks * bits, m).to(torch.int32)


def unpack(words: torch.Tensor, bits: int, n: int) -> torch.Tensor:
    """Undo :func:`pack`: ``(n, m)`` uint8 codes."""
    chunks, m = len(words) // bits, words.shape[1]
    grouped = words.reshape(chunks, bits, m)
    codes = torch.empty(chunks, _CHUNK, m, dtype=torch.uint8, device=words.device)
    mask = (1 << bits) - 1
    for index in range(_CHUNK):
        word, shift = divmod(index * bits, 32)
        # The shift of a signed word fills with ones from the left; the mask drops them, except
        # where the code goes on in the next word.
        code = grouped[:, word] >> shift
        if shift + bits > 32:
            code = (code & ((1 << (32 - shift)) - 1)) | (grouped[:, word + 1] << (32 - shift))
        codes[:, index] = (code & mask).to(torch.uint8)
    return codes.reshape(chunks * _CHUNK, m)[:n]


class PackedLinear(DequantizedLinear):
    """A linear layer with packed codes.

    Parameters
    ----------
    in_features, out_features
        Of the layer.
    bits
        Width of a code.
    tensors
        ``qweight``, ``qzeros`` (int32), ``scales`` (float16), ``g_idx`` (int32, group of each
        input column).
    bias
        The float layer's, or None.
    """

    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor
    g_idx: torch.Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bits: int,
        tensors: dict[str, torch.Tensor],
        bias: nn.Parameter | None,
    ) -> None:
        group_size = in_features // len(tensors["scales"])
        super().__init__(in_features, out_features, bits=bits, group_size=group_size, bias=bias)
        for name in ("qweight", "qzeros", "scales", "g_idx"):
            self.register_buffer(name, tensors[name])

    @classmethod
    def from_codes(cls, codes: Codes, *, bits: int, bias: nn.Parameter | None) -> PackedLinear:
        """Pack what the solver returned."""
        out_features, in_features = codes.codes.shape
        group_size = in_features // codes.scales.shape[1]
        columns = torch.arange(in_features, device=codes.codes.device)
        tensors = {
            "qweight": pack(codes.codes.T, bits),
            "qzeros": pack(codes.zeros, bits).T.contiguous(),
            "scales": codes.scales.T.contiguous(),
            "g_idx": (columns // group_size).to(torch.int32),
        }
        return cls(in_features, out_features, bits=bits, tensors=tensors, bias=bias)

    def dequantize(self) -> torch.Tensor:
        """Return the weight, ``(out_features, in_features)`` float32."""
        codes = unpack(self.qweight, self.bits, self.in_features).float()
        zeros = unpack(self.qzeros.T, self.bits, self.out_features).T.float()
        group = self.g_idx.long()
        codes -= zeros[group]
        codes *= self.scales.float()[group]
        return codes.T.contiguous()
