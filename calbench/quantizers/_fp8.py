"""FP8: weights in 8-bit floats, as vLLM and TensorRT-LLM serve them, and activations if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from calbench.quantizers._catalogue import quantizer
from calbench.quantizers._swapped_layers import Activations, SwapsLayers

if TYPE_CHECKING:
    from torch import nn

_EPSILON = {"e4m3fn": 2.0**-4, "e5m2": 2.0**-3}


@dataclass(frozen=True)
class Fp8(SwapsLayers):
    """Weights in an 8-bit float type.

    Parameters
    ----------
    dtype
        ``"e4m3fn"`` or ``"e5m2"``, as torch calls them.
    scale
        What shares a scale: ``"channel"`` (an output row) or ``"tensor"``.
    """

    dtype: Literal["e4m3fn", "e5m2"]
    scale: Literal["channel", "tensor"]

    packages = ()

    @property
    def epsilon(self) -> float:
        """Unit roundoff of the type."""
        return _EPSILON[self.dtype]

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer in the type."""
        del how
        from calbench.quantizers._coded_layers import Fp8Linear

        return Fp8Linear.encoded(
            layer, self.dtype, scaling=self.scale, rounds_inputs=self.activations == "dynamic"
        )


@quantizer("fp8-e4m3")
def e4m3(
    id: str,  # noqa: A002 (the argument is an id)
    *,
    skip: tuple[str, ...] = (),
    include: tuple[str, ...] = (),
    activations: Activations = "none",
    scale: Literal["channel", "tensor"] = "channel",
) -> Fp8:
    """Give weights four exponent bits and three of mantissa."""
    return Fp8(id, skip, include, activations, "e4m3fn", scale)


@quantizer("fp8-e5m2")
def e5m2(
    id: str,  # noqa: A002
    *,
    skip: tuple[str, ...] = (),
    include: tuple[str, ...] = (),
    activations: Activations = "none",
    scale: Literal["channel", "tensor"] = "channel",
) -> Fp8:
    """Give weights five exponent bits and two of mantissa."""
    return Fp8(id, skip, include, activations, "e5m2", scale)
