"""bitsandbytes: 8-bit integers with a scale per row, and 4-bit floats with a scale per 64 weights.

Layers are swapped in memory. Two things that the library does by itself are undone, because they
change results in silence:

- On CPUs with AVX512_BF16 a 4-bit layer repacks its weights in place on the first forward in
  evaluation mode, then computes in bfloat16 whatever its compute type says, with wrong gradients
  and ruined weights on saving. It is switched off per layer; the layer then equals a dequantized
  float32 oracle, and results do not depend on the CPU's model.
- 8-bit with an outlier threshold (6 in "LLM.int8()") picks outlier columns over the whole batch, so
  that an item's logits depend on its neighbours. The default here is 0: no outlier columns.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from calbench.errors import InputError
from calbench.quantizers._availability import backend, require
from calbench.quantizers._catalogue import register
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers._selection import kept_in_float32, select

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples

_BLOCK = 64
# Half of the widest gap between two neighbouring values of the code, whose largest is 1.
_EPSILON_4BIT = {"nf4": 0.15190, "fp4": 0.16667}
ComputeType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class _Bitsandbytes(ABC):
    """What the two widths have in common."""

    id: str
    _: KW_ONLY
    skip: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    n_samples = 0
    stochastic = False
    packages = ("bitsandbytes",)

    def check_available(self) -> None:
        """Need bitsandbytes."""
        require(self.id, ("torch", "transformers", "bitsandbytes"), extra="bitsandbytes")

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Linear layers inside the blocks, less ``skip``, plus ``include``.

        What transformers keeps in float32 stays so, as where it quantizes a model itself: T5 casts the
        input of ``wo`` to the type of its weight, which here is that of codes.
        """
        kept = kept_in_float32(model) - set(self.include)
        names = select(model, skip=self.skip, include=self.include)
        return tuple(name for name in names if not kept & set(name.split(".")))

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Load the source in float32 and swap the layers, one at a time."""
        del samples, seed
        self.check_available()
        from calbench.quantizers._layers import put

        model: nn.Module = source.load()
        for name in self.targets(model):
            put(model, name, self.swapped(model.get_submodule(name)))
        # Without this an 8-bit layer takes its training path, which is not the one to measure.
        return model.eval()

    @abstractmethod
    def swapped(self, layer: Any) -> nn.Module:
        """Return the quantized layer for a float one."""


@dataclass(frozen=True, kw_only=True)
class Int8(_Bitsandbytes):
    """Weights in 8-bit integers, scaled per row; activations too, per token, on the fly."""

    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.threshold < 0:
            raise InputError(f"threshold in {self.id!r}: {self.threshold} is negative; 0 switches it off")

    @property
    def epsilon(self) -> float:
        """Half a step of a symmetric 8-bit integer."""
        return 1 / 254

    @property
    def batch_dependent(self) -> bool:
        """With a threshold, outlier columns are picked over the batch."""
        return self.threshold > 0

    @property
    def kernel(self) -> str:
        """Integer matrix product."""
        outliers = f", outliers above {self.threshold:g} in floating point" if self.threshold else ""
        return f"bitsandbytes int8 x int8 -> int32{outliers}"

    def swapped(self, layer: Any) -> nn.Module:
        """Return the layer with int8 weights."""
        library = _library()
        new = _flattening(library.nn.Linear8bitLt)(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            has_fp16_weights=False,
            threshold=self.threshold,
            device="meta",
        )
        # The library quantizes what is moved from the CPU, and takes all else to be quantized already.
        weight = layer.weight.data.cpu()
        new.weight = library.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        new.bias = layer.bias
        module: nn.Module = new.to(layer.weight.device)
        return module

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Layers with int8 weights."""
        import torch

        kind = _library().nn.Linear8bitLt
        found = {n: m for n, m in model.named_modules() if isinstance(m, kind)}
        return {n: WeightFormat("int8-row", 8) for n, m in found.items() if m.weight.dtype == torch.int8}

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Codes times the row's scale."""
        parts = self.weight_tensors(module)
        return parts["weight"].float() * (parts["scale"].float() / 127)[:, None]

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Codes, and a float32 scale per row."""
        layer: Any = module
        # The scales move from the parameter to the layer's state on the first forward.
        scale = layer.weight.SCB if layer.weight.SCB is not None else layer.state.SCB
        return {"weight": layer.weight.data, "scale": scale}


@dataclass(frozen=True, kw_only=True)
class FourBit(_Bitsandbytes):
    """Weights in a 4-bit floating code, scaled per 64; arithmetic in ``compute_dtype``."""

    code: Literal["nf4", "fp4"]
    compute_dtype: ComputeType = "float32"
    double_quant: bool = False

    batch_dependent = False

    @property
    def epsilon(self) -> float:
        """Half of the code's widest gap."""
        return _EPSILON_4BIT[self.code]

    @property
    def kernel(self) -> str:
        """Dequantized product."""
        return f"bitsandbytes 4-bit, dequantized to {self.compute_dtype}, avx512_bf16 repacking off"

    def swapped(self, layer: Any) -> nn.Module:
        """Return the layer with packed 4-bit weights."""
        import torch

        library = _library()
        new = library.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=getattr(torch, self.compute_dtype),
            compress_statistics=self.double_quant,
            quant_type=self.code,
            device="meta",
        )
        new.weight = library.nn.Params4bit(
            layer.weight.data,
            requires_grad=False,
            blocksize=_BLOCK,
            compress_statistics=self.double_quant,
            quant_type=self.code,
            module=new,
        )
        new.bias = layer.bias
        self.settle(new)
        module: nn.Module = new.to(layer.weight.device)
        return module

    def settle(self, model: nn.Module) -> None:
        """Undo what the library would do to 4-bit layers in place, on their first forward.

        It would repack their weights, and round a bias to the compute type: the model would change
        by being run. The first is switched off and the second done at once.
        """
        kind = _library().nn.Linear4bit
        for layer in model.modules():
            if isinstance(layer, kind):
                layer.support_avx512bf16_for_cpu = False
                if layer.bias is not None:
                    layer.bias.data = layer.bias.data.to(layer.compute_dtype)

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Layers with packed 4-bit weights."""
        kind = _library().nn.Linear4bit
        return {
            name: WeightFormat(self.code, 4, module.weight.quant_state.blocksize)
            for name, module in model.named_modules()
            if isinstance(module, kind) and module.weight.quant_state is not None
        }

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Decode; the library's own decoder, checked against the code table in the tests."""
        layer: Any = module
        weight: torch.Tensor = _library().functional.dequantize_4bit(
            layer.weight.data, layer.weight.quant_state
        )
        return weight.float()

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """Codes, scales, the code table, and the scales' own scales under double quantization."""
        layer: Any = module
        state = layer.weight.quant_state
        parts = {"weight": layer.weight.data, "absmax": state.absmax, "code": state.code}
        if state.state2 is not None:
            nested = state.state2
            parts |= {"offset": state.offset, "nested_absmax": nested.absmax, "nested_code": nested.code}
        return parts


register("bnb-int8", Int8, "Give weights and activations 8-bit integers.")
register(
    "bnb-nf4",
    FourBit,
    "Give weights the 4-bit normal float of QLoRA (Dettmers et al. 2023).",
    code="nf4",
)
register(
    "bnb-fp4",
    FourBit,
    "Give weights a 4-bit float with sign, two exponent bits and one of mantissa.",
    code="fp4",
)


@cache
def _flattening(kind: Any) -> Any:
    """The library's layer for inputs of any shape: it takes two or three dimensions, DeepSeek gives four."""

    class FlatLinear8bitLt(kind):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows: torch.Tensor = super().forward(x.reshape(-1, x.shape[-1]))
            return rows.reshape(*x.shape[:-1], rows.shape[-1])

    return FlatLinear8bitLt


def _without_cast_notice(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("MatMul8bitLt: inputs will be cast")


def _without_kernels_notice(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Failed to load CPU gemm_4bit_forward")


def _library() -> Any:
    """Import bitsandbytes, less two notices.

    One is printed on every call of an 8-bit layer; the other is about a kernel for the repacked
    layout that is never used here.
    """
    for name, keep in (
        ("bitsandbytes.autograd._functions", _without_cast_notice),
        ("bitsandbytes.backends.cpu.ops", _without_kernels_notice),
    ):
        # Logger.addFilter ignores a filter that is there already.
        logging.getLogger(name).addFilter(keep)
    # Importing it compiles kernels, which uses deprecated parts of torch.
    return backend("bitsandbytes", "bitsandbytes", extra="bitsandbytes")
