"""A linear layer whose weight is the bytes of a GGUF tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from calbench.quantizers._availability import backend
from calbench.quantizers._layers import CodedLinear
from calbench.quantizers._protocol import WeightFormat


class GgufLinear(CodedLinear):
    """A linear layer with blocks as llama.cpp stores them.

    Parameters
    ----------
    layer, format, tensors
        As for :class:`~calbench.quantizers._layers.CodedLinear`; ``blocks`` is uint8
        ``(out_features, bytes of a row)``, or float16 where the type is ``F16``.
    type_name
        Of GGML.
    """

    blocks: torch.Tensor

    def __init__(
        self,
        layer: torch.nn.Module,
        format: WeightFormat,  # noqa: A002
        tensors: Mapping[str, torch.Tensor],
        type_name: str,
    ) -> None:
        super().__init__(layer, format, tensors)
        self.type_name = type_name

    def decode(self) -> torch.Tensor:
        """Return the weight, ``(out_features, in_features)`` float32."""
        if self.type_name == "F16":
            return self.blocks.float()
        library = backend("gguf", "libgguf", extra="gguf")
        kind = library.GGMLQuantizationType[self.type_name]
        rows = library.dequantize_rows(self.blocks.cpu().numpy(), kind, n_per_row=self.in_features)
        return torch.from_numpy(rows).to(self.blocks.device)

    def decoded_by_gguf_py(self) -> torch.Tensor:
        """The same by another decoder, on the CPU."""
        library: Any = backend("gguf", "gguf", extra="gguf")
        rows = library.quants.dequantize(
            self.blocks.cpu().numpy(), library.GGMLQuantizationType[self.type_name]
        )
        return torch.from_numpy(rows.reshape(self.out_features, self.in_features))
