"""A quantized key and value cache: an argument, ``kv=int8|fp8|int4``, of every decoder's quantizer.

What servers round when they write their cache, keys (after the rotary embedding) and values, is
rounded here where attention reads it: per token and head, so that it does not matter when it is
done. Weights are left alone. Memory is not saved: torch keeps its own cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from calbench.errors import InputError, QuantizationError
from calbench.quantizers._protocol import Quantizer
from calbench.registry import Spec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource
    from calbench.quantizers._samples import QuantizationSamples

Kind = Literal["int8", "fp8", "int4"]
ARGUMENT = "kv"


def without_cache(spec: Spec) -> tuple[Spec, Kind | None]:
    """Take ``kv`` out of an id's arguments.

    >>> without_cache(Spec.parse("bnb-nf4[kv=int8,skip=key]"))[0].id
    'bnb-nf4[skip=key]'

    Raises
    ------
    InputError
        Its value is none of those known.
    """
    given = dict(spec.arguments)
    kind = given.pop(ARGUMENT, None)
    if kind is None or "runtime" in given:  # another runtime has caches of its own
        return spec, None
    if kind not in get_args(Kind):
        raise InputError(f"kv in {spec.id!r}: {kind!r} is not one of {', '.join(get_args(Kind))}")
    return Spec(spec.name, tuple(given.items())), cast("Kind", kind)


def with_rounded_cache(quantizer: Quantizer, kind: Kind) -> Quantizer:
    """Return the quantizer with keys and values rounded besides."""
    spec = Spec.parse(quantizer.id)
    arguments = (*spec.arguments, (ARGUMENT, kind))
    return cast("Quantizer", RoundedCache(Spec(spec.name, tuple(sorted(arguments))).id, quantizer, kind))


@dataclass(frozen=True)
class RoundedCache:
    """A quantizer whose models round keys and values; all else is the quantizer's own.

    Parameters
    ----------
    id
        Canonical.
    weights
        What quantizes the weights.
    kind
        How keys and values are rounded.
    """

    id: str
    weights: Quantizer
    kind: Kind

    def __getattr__(self, name: str) -> Any:
        if name == "weights":  # as when a copy is made, before there is one
            raise AttributeError(name)
        return getattr(self.weights, name)

    @property
    def kernel(self) -> str:
        """That of the weights, and what is done to keys and values."""
        return f"{self.weights.kernel}; keys and values rounded to {self.kind} per token and head"

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Those of the weights; the model must keep keys and values.

        Raises
        ------
        InputError
            The model generates nothing, and so has no cache.
        """
        if not cast("Any", model).can_generate():
            raise InputError(
                f"{self.id}: {type(model).__name__} is no decoder and keeps no cache; leave kv out"
            )
        return self.weights.targets(model)

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Quantize the weights, then have attention round what it reads."""
        return _rounding(self.weights.build(source, samples=samples, seed=seed), self.kind)

    def load(self, source: ModelSource, folder: Any) -> nn.Module:
        """Load the weights, then have attention round what it reads."""
        return _rounding(cast("Any", self.weights).load(source, folder), self.kind)


def round_states(states: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Round keys or values ``(..., head_dim)``, each token's and head's with a scale of its own.

    ``int8`` is symmetric, ``fp8`` is E4M3, ``int4`` has a zero point, as the caches of servers do.
    """
    import torch

    x = states.float()
    if kind == "int4":
        low = x.amin(dim=-1, keepdim=True)
        scale = (x.amax(dim=-1, keepdim=True) - low) / 15
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        return (((x - low) / scale).round() * scale + low).to(states.dtype)
    largest = 127.0 if kind == "int8" else torch.finfo(torch.float8_e4m3fn).max
    scale = x.abs().amax(dim=-1, keepdim=True) / largest
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    codes = (x / scale).clamp(-largest, largest)
    codes = codes.round() if kind == "int8" else codes.to(torch.float8_e4m3fn).float()
    return (codes * scale).to(states.dtype)


def _rounding(model: nn.Module, kind: Kind) -> nn.Module:
    """Have a model's attention read rounded keys and values, in place."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name = f"calbench_kv_{kind}"
    attention: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def rounded(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        return attention(module, query, round_states(key, kind), round_states(value, kind), *args, **kwargs)

    AttentionInterface.register(name, rounded)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    kept: Any = model
    if not kept._can_set_attn_implementation():
        raise QuantizationError(
            f"kv={kind}: the attention of {type(model).__name__} cannot be exchanged in this version of"
            " transformers, so that its keys and values cannot be rounded; leave kv out"
        )
    kept.set_attn_implementation(name)
    return model
