"""FP8: weights in 8-bit floats, as vLLM and TensorRT-LLM serve them, and activations if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from calbench.quantizers._catalogue import register
from calbench.quantizers._swapped_layers import SwapsLayers

if TYPE_CHECKING:
    from torch import nn

_EPSILON = {"e4m3fn": 2.0**-4, "e5m2": 2.0**-3}


@dataclass(frozen=True, kw_only=True)
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
    scale: Literal["channel", "tensor"] = "channel"

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


register("fp8-e4m3", Fp8, "Give weights four exponent bits and three of mantissa.", dtype="e4m3fn")
register("fp8-e5m2", Fp8, "Give weights five exponent bits and two of mantissa.", dtype="e5m2")
