"""Layers that stand in for a model's own: how they get into it, and what those with codes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from calbench.quantizers._protocol import WeightFormat


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Replace the module of that dotted name, in place; codes are moved to where its weight was."""
    parent, _, child = name.rpartition(".")
    if isinstance(layer, DequantizedLinear):
        layer.to(model.get_submodule(name).get_parameter("weight").device)
    setattr(model.get_submodule(parent), child, layer)


class DequantizedLinear(nn.Module, ABC):
    """``x @ W.T + b`` whose weight is kept as codes, and computed with as it is in float32.

    The weight is dequantized on the first forward and that copy is kept, since unpacking at every
    call would cost more than the product; setting :attr:`dequantized_copy` to None frees it.

    Parameters
    ----------
    in_features, out_features
        Of the layer.
    bits
        Width of a code.
    group_size
        Input columns that share a scale.
    bias
        The float layer's, or None.
    """

    def __init__(
        self, in_features: int, out_features: int, *, bits: int, group_size: int, bias: nn.Parameter | None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.bits, self.group_size = bits, group_size
        self.bias = bias
        self.dequantized_copy: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The weight that is computed with; T5, Mamba and others look at it themselves."""
        if self.dequantized_copy is None:
            # A tensor made in inference mode could not be trained through later.
            with torch.inference_mode(mode=False), torch.no_grad():
                self.dequantized_copy = self.dequantize()
        return self.dequantized_copy

    @abstractmethod
    def dequantize(self) -> torch.Tensor:
        """Return the weight, ``(out_features, in_features)`` float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer's output, in the input's type."""
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        """Shape and format, for printing."""
        return f"{self.in_features}, {self.out_features}, bits={self.bits}, group_size={self.group_size}"


class CodedLinear(DequantizedLinear):
    """A layer in a :class:`~calbench.quantizers._protocol.WeightFormat`, its codes and scales as buffers.

    Parameters
    ----------
    layer
        The float layer whose shape and bias this one has.
    format
        The grid.
    tensors
        All that the weight is stored in. A buffer ``column_scale`` ``(in_features,)`` says that the
        columns were multiplied before they were rounded; inputs are divided by the same, so that
        the layer's weight is what :meth:`decode` gives, divided.
    """

    def __init__(
        self,
        layer: nn.Module,
        format: WeightFormat,  # noqa: A002 (the field's name)
        tensors: Mapping[str, torch.Tensor],
    ) -> None:
        shape: Any = layer
        super().__init__(
            shape.in_features,
            shape.out_features,
            bits=format.bits,
            group_size=format.group_size,
            bias=shape.bias,
        )
        self.format = format
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.contiguous())

    @abstractmethod
    def decode(self) -> torch.Tensor:
        """Return the stored weight on its grid, ``(out_features, in_features)`` float32."""

    def dequantize(self) -> torch.Tensor:
        """Return the weight that the layer has, ``(out_features, in_features)`` float32."""
        weight = self.decode()
        scale: torch.Tensor | None = self._buffers.get("column_scale")
        return weight if scale is None else weight / scale


class RoundingLinear(CodedLinear):
    """A coded layer whose format has a rule for inputs too.

    Parameters
    ----------
    layer, format, tensors
        As for :class:`CodedLinear`.
    rounds_inputs
        Whether :meth:`round_inputs` is applied to what the layer reads, at each call.
    """

    def __init__(
        self,
        layer: nn.Module,
        format: WeightFormat,  # noqa: A002 (the field's name)
        tensors: Mapping[str, torch.Tensor],
        *,
        rounds_inputs: bool,
    ) -> None:
        super().__init__(layer, format, tensors)
        self.rounds_inputs = rounds_inputs

    @abstractmethod
    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Round inputs ``(..., in_features)``, each token by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer's output, in the input's type."""
        if self.rounds_inputs:
            scale: torch.Tensor | None = self._buffers.get("column_scale")
            # Rounded as they meet the stored weight, and scaled back to meet the layer's.
            x = self.round_inputs(x) if scale is None else self.round_inputs(x / scale) * scale
        return super().forward(x)
