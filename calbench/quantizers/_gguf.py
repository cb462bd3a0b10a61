"""GGUF: the block formats of llama.cpp, Ollama and LM Studio, decoded to torch's weights.

libgguf, llama.cpp's own row kernels in a wheel, chooses the codes, so that the weights are those that
``llama-quantize`` writes without an importance matrix. They are decoded once and torch computes with
them in float32: what is seen is the effect of the weights alone. The proof decodes the stored blocks
a second time with gguf-py, which was written independently of the kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from calbench.errors import InputError, QuantizationError
from calbench.quantizers._availability import backend, require
from calbench.quantizers._catalogue import register
from calbench.quantizers._gguf_types import IDS, fitting, format_of, half_step, wanted
from calbench.quantizers._protocol import Runtime
from calbench.quantizers._selection import select
from calbench.quantizers._swapped_layers import SwapsLayers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.quantizers._samples import QuantizationSamples

Fallback = Literal["refuse", "allow"]
Cache = Literal["f32", "f16", "q8_0", "q4_0"]


@dataclass(frozen=True, kw_only=True)
class Gguf(SwapsLayers):
    """Weights in one of GGUF's block formats, or in the mixture of a recipe.

    Parameters
    ----------
    type_name
        ``"Q4_K"``, ..., or a recipe: ``"Q4_K_M"``.
    fallback
        Whether a model is taken most of whose layers cannot have the type, since their rows are not
        divisible by its blocks, and get llama.cpp's replacement.
    runtime
        Who answers from the proven blocks: torch on what they decode to, or llama.cpp.
    kv
        Type of llama.cpp's key-value cache.
    """

    type_name: str
    fallback: Fallback = "refuse"
    runtime: Runtime = "torch"
    kv: Cache = "f32"

    @property
    def packages(self) -> tuple[str, ...]:
        """Who encodes and decodes, and who answers if that is not torch."""
        return ("libgguf", "gguf") if self.runtime == "torch" else ("libgguf", "gguf", "xllamacpp")

    @property
    def epsilon(self) -> float:
        """Largest relative half-step of the type's grid."""
        return half_step(self.type_name)

    def check_available(self) -> None:
        """Need libgguf and gguf."""
        super().check_available()
        require(self.id, ("libgguf", "gguf"), extra="gguf")
        if self.runtime == "llama.cpp":
            require(self.id, ("xllamacpp", "httpx"), extra="llama.cpp")

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Linear layers inside the blocks, less ``skip``, plus ``include``, if their rows fit."""
        return tuple(self.plan(model))

    def plan(self, model: nn.Module, samples: QuantizationSamples | None = None) -> Mapping[str, str]:
        """The type of each layer."""
        del samples
        names = select(model, skip=self.skip, include=self.include)
        asked = wanted(self.type_name, model, names)
        widths = {name: int(model.get_submodule(name).in_features) for name in names}  # type: ignore[arg-type]
        given = {name: fitting(asked[name], widths[name]) for name in names}
        others = [name for name in names if given[name] != asked[name]]
        if self.fallback == "refuse" and 2 * len(others) > len(names):
            instead = ", ".join(f"{n} would be {t}" for t, n in Counter(given[n] for n in others).items())
            first = others[0]
            raise InputError(
                f"{self.id}: {len(others)} of {len(names)} layers of {type(model).__name__} cannot be"
                f" {asked[first]}, whose blocks of 256 do not divide their rows ({first}: {widths[first]});"
                f" as llama.cpp writes them {instead}. Give fallback=allow to measure that, or use"
                " gguf-q8_0, gguf-q4_0, gguf-iq4_nl or gguf-mxfp4, whose blocks are smaller"
            )
        return given

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer with its weight in blocks of the type."""
        return encoded(layer, how)

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Decode by libgguf, and again by gguf-py: they must agree bit for bit."""
        import torch

        layer: Any = module
        weight: torch.Tensor = layer.decode()
        independent = layer.decoded_by_gguf_py()
        if not torch.equal(weight.cpu(), independent):
            raise QuantizationError(
                f"{self.id}: libgguf and gguf-py decode the same {layer.type_name} blocks differently;"
                " install the versions that constraints.txt names"
            )
        return weight


def encoded(layer: Any, type_name: str) -> nn.Module:
    """A float layer's weight in blocks of a type."""
    import torch

    from calbench.quantizers._gguf_layer import GgufLinear

    weight = layer.weight.detach().float().cpu().contiguous()
    if type_name == "F16":
        blocks = weight.half()
    else:
        library = backend("gguf", "libgguf", extra="gguf")
        codes = library.quantize_rows(weight.numpy(), library.GGMLQuantizationType[type_name])
        blocks = torch.from_numpy(codes)
    return GgufLinear(layer, format_of(type_name), {"blocks": blocks}, type_name)


for _name, _type_name in IDS.items():
    _what = f"Weights in llama.cpp's blocks of {_type_name.upper()}."
    register(_name, Gguf, _what, type_name=_type_name, activations="none")
