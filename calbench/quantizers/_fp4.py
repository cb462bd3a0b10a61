"""MXFP4 and NVFP4: weights in 4-bit floats that share small scales, and activations if asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from calbench.quantizers._catalogue import register
from calbench.quantizers._selection import check_group_size
from calbench.quantizers._swapped_layers import SwapsLayers

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Fp4(SwapsLayers):
    """Weights in E2M1, scaled by powers of two per 32, or by E4M3 numbers per 16."""

    kind: Literal["mxfp4", "nvfp4"]

    packages = ()

    @property
    def epsilon(self) -> float:
        """Half of the gap between 4 and 6, relative to the largest weight of a group."""
        # A power of two leaves the largest weight between 4 and 8; an E4M3 scale brings it to 6.
        return 1 / 4 if self.kind == "mxfp4" else 1 / 6

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Linear layers inside the blocks, less ``skip``, plus ``include``; groups must fit into them."""
        names: Iterable[str] = super().targets(model)
        check_group_size(model, names, 32 if self.kind == "mxfp4" else 16)
        return tuple(names)

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer in the format."""
        del how
        from calbench.quantizers._coded_layers import Mxfp4Linear, Nvfp4Linear

        kind = Mxfp4Linear if self.kind == "mxfp4" else Nvfp4Linear
        return kind.encoded(layer, rounds_inputs=self.activations == "dynamic")


register("mxfp4", Fp4, "Give weights the 4-bit floats of the OCP's microscaling formats.", kind="mxfp4")
register("nvfp4", Fp4, "Give weights the 4-bit floats of NVIDIA's Blackwell.", kind="nvfp4")
