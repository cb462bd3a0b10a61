"""Plain casts: the full-precision reference, and the 16-bit floating types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from calbench.quantizers._availability import require
from calbench.quantizers._catalogue import register
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers._selection import kept_in_float32, linears

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples

REFERENCE = "fp32"
IN_LLAMA_CPP = "gguf-f32"
# Their weights are the source's: there is nothing to prove.
LOSSLESS = (REFERENCE, IN_LLAMA_CPP)

# The unit roundoff of each type.
_EPSILON = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class Cast:
    """Every floating tensor of the model in one type, which is also the type it computes in."""

    id: str
    dtype: Literal["float32", "float16", "bfloat16"]

    n_samples = 0
    stochastic = False
    batch_dependent = False
    packages: ClassVar[tuple[str, ...]] = ()

    @property
    def epsilon(self) -> float:
        """Unit roundoff of the type."""
        return _EPSILON[self.dtype]

    @property
    def kernel(self) -> str:
        """Torch's own."""
        return f"torch linear, {self.dtype} compute"

    def check_available(self) -> None:
        """Need torch and transformers."""
        require(self.id, ("torch", "transformers"), extra="torch")

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """All linear layers, heads included; none where the weights are the source's.

        Less those that transformers keeps in float32 on purpose, such as T5's ``wo`` under float16, where
        it would overflow: such a model is in 16 bits all the same, and its bits are counted.
        """
        if self.id in LOSSLESS:
            return ()
        kept = kept_in_float32(model, always=self.dtype == "bfloat16")
        return tuple(name for name in linears(model) if not _is_kept(name, kept))

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Load the source in the type."""
        del samples, seed
        import torch

        model: nn.Module = source.load(getattr(torch, self.dtype))
        return model

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Linear layers in the type."""
        if self.id in LOSSLESS:
            return {}
        name = self.id
        bits = 32 if self.dtype == "float32" else 16
        return {
            layer: WeightFormat(name, bits, dtype=self.dtype)
            for layer, module in linears(model).items()
            if str(module.weight.dtype) == f"torch.{self.dtype}"
        }

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Weight, widened to float32."""
        return module.get_parameter("weight").detach().float()

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Weight alone."""
        return {"weight": module.get_parameter("weight").detach()}


def _is_kept(name: str, kept: set[str]) -> bool:
    return any(f".{part}." in f".{name}.weight." for part in kept)


@dataclass(frozen=True)
class InLlamaCpp(Cast):
    """Float32 weights, as torch has them, in llama.cpp's arithmetic."""

    runtime = "llama.cpp"
    kv = "f32"
    packages = ("gguf", "xllamacpp")

    @property
    def kernel(self) -> str:
        """Of llama.cpp."""
        return "llama.cpp, float32 weights"

    def check_available(self) -> None:
        """Need llama.cpp besides."""
        super().check_available()
        require(self.id, ("gguf", "xllamacpp", "httpx"), extra="llama.cpp")


register(
    REFERENCE, Cast, "Keep full precision: the reference that everything is compared with.", dtype="float32"
)
register(
    IN_LLAMA_CPP,
    InLlamaCpp,
    "Keep full precision and let llama.cpp compute: what is seen is its arithmetic alone.",
    dtype="float32",
)
register("bf16", Cast, "Cast weights and arithmetic to bfloat16.", dtype="bfloat16")
register("fp16", Cast, "Cast weights and arithmetic to float16.", dtype="float16")
