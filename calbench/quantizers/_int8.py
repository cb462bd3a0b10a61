"""W8A8: weights in 8-bit integers with a scale per row, activations per token if asked for.

SmoothQuant (Xiao et al., ICML 2023) divides each input column by ``max|X_j|**a / max|W_j|**(1 - a)``
and multiplies the weight's by it: what is hard to round in activations moves into weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calbench.errors import InputError
from calbench.quantizers._catalogue import register
from calbench.quantizers._swapped_layers import SwapsLayers

if TYPE_CHECKING:
    from torch import nn

    from calbench.quantizers._samples import QuantizationSamples

_N_SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class Int8(SwapsLayers):
    """Symmetric 8-bit integers, a scale per output row.

    Parameters
    ----------
    smoothquant
        The exponent of SmoothQuant, 0.5 in the paper; 0 leaves it out.
    """

    smoothquant: float = 0.0

    packages = ()

    def __post_init__(self) -> None:
        if not 0 <= self.smoothquant < 1:
            raise InputError(
                f"smoothquant={self.smoothquant:g} in {self.id!r} is outside [0, 1); 0.5 is usual"
            )
        if self.smoothquant and self.activations == "none":
            raise InputError(
                f"smoothquant={self.smoothquant:g} in {self.id!r} eases the rounding of activations;"
                " add activations=dynamic"
            )

    @property
    def n_samples(self) -> int:  # type: ignore[override]
        """SmoothQuant reads texts to see how large activations are."""
        return _N_SAMPLES if self.smoothquant else 0

    @property
    def epsilon(self) -> float:
        """Half a step of a symmetric 8-bit integer."""
        return 1 / 254

    def plan(self, model: nn.Module, samples: QuantizationSamples | None = None) -> Mapping[str, Any]:
        """The factor of each input column, by layer; None without SmoothQuant."""
        names = self.targets(model)
        if not self.smoothquant or samples is None:
            return dict.fromkeys(names)
        from calbench.quantizers._layer_inputs import measured

        factors = {}
        for name, inputs in measured(model, names, samples, moments=False).items():
            weight = model.get_submodule(name).get_parameter("weight").detach()
            of_inputs = inputs.largest.clamp_min(1e-5) ** self.smoothquant
            of_weight = weight.abs().amax(dim=0).clamp_min(1e-5) ** (1 - self.smoothquant)
            factors[name] = (of_inputs / of_weight).clamp_min(1e-5)
        return factors

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer with integer weights."""
        from calbench.quantizers._coded_layers import Int8Linear

        return Int8Linear.encoded(layer, rounds_inputs=self.activations == "dynamic", column_scale=how)


register("int8", Int8, "Give weights 8-bit integers, as W8A8 checkpoints for vLLM have them.")
