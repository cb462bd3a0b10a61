"""Whether a way to read a model gives what the model says of each text alone, and which way is taken.

Batches pad, share rows and leave the head to few positions. Not every architecture heeds a mask, has
a head that stands alone, or looks at earlier tokens only, and none says so. So each model is asked a
few inputs in the fastest way and then one at a time, as transformers would be asked; where they
differ the next way is tried, down to one input at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

from calbench.errors import InputError

Grouping = Literal["padded", "equal lengths", "one by one"]

# Of the largest number compared, where that is above 1.
FLOAT32_TOLERANCE = 1e-4
COARSE_TOLERANCE = 0.05

_causal: WeakSet[Any] = WeakSet()
_settled: WeakKeyDictionary[Any, list[_Settled]] = WeakKeyDictionary()
# By configuration: how a model was read in float32, where differences show that 16 bits would hide.
_of_reference: dict[str, list[_Settled]] = {}


@dataclass(frozen=True)
class Way:
    """One way to read a model.

    Parameters
    ----------
    name
        For the record.
    own
        Whether the model's whole forward pass gives the logits, or its head is applied to few states.
    grouping
        Which inputs share a batch.
    trees
        Whether options and questions share rows.
    """

    name: str
    own: bool
    grouping: Grouping = "padded"
    trees: bool = False


@dataclass(frozen=True)
class _Settled:
    """A way that was seen to agree, for inputs of these lengths: one task's may be alike, and never pad."""

    kind: str
    way: str
    shortest: int
    longest: int

    def covers(self, kind: str, lengths: Sequence[int]) -> bool:
        return kind == self.kind and self.shortest <= min(lengths) and max(lengths) <= self.longest


def groups(lengths: Sequence[int], grouping: Grouping) -> list[list[int]]:
    """Divide a batch's rows, by their places, into those that are run together."""
    if grouping == "padded":
        return [list(range(len(lengths)))]
    if grouping == "one by one":
        return [[row] for row in range(len(lengths))]
    found: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        found.setdefault(length, []).append(row)
    return list(found.values())


def forward_options(module: Any) -> dict[str, Any]:
    """What a forward pass is told besides its input, where it can be."""
    return {"use_cache": False} if "use_cache" in signature(module.forward).parameters else {}


def settle(
    module: Any,
    kind: str,
    ways: Sequence[Way],
    read: Callable[[Way], Any],
    alone: Callable[[], Any],
    lengths: Sequence[int],
) -> Way:
    """Return the first way that agrees with the model asked one input at a time.

    A model is asked once for each kind of request, and again where inputs are shorter or longer than those
    that it was asked; one in fewer bits is read as its reference was.

    Parameters
    ----------
    module
        The model.
    kind
        Of the request.
    ways
        Fastest first.
    read
        Answers to a few inputs, read in one way.
    alone
        The same, each asked alone.
    lengths
        Of these inputs: the shortest and the longest of the task are among them.

    Raises
    ------
    InputError
        The model answers the same input otherwise each time, or no way agrees.
    """
    exact, configuration = is_exact(module), _configuration(module)
    known = _settled.setdefault(module, [])
    reference = _of_reference.setdefault(configuration, [])
    settled = {s.way for s in (*known, *([] if exact else reference)) if s.covers(kind, lengths)}
    for way in ways:
        if way.name in settled:
            return way
    own = alone().detach()
    if not bool(own.isfinite().all()):
        return ways[0]  # who asks names the item
    if not agree(module, alone(), own):
        raise InputError(
            f"{type(module).__name__} answers the same input otherwise each time: it draws at random, and"
            " cannot be compared"
        )
    failures = []
    for way in ways:
        try:
            found = read(way)
        except Exception as error:  # noqa: BLE001 (of the architecture's own code: the next way may do)
            failures.append(f"{way.name}: {type(error).__name__}: {error}")
            continue
        if agree(module, found, own):
            known.append(_Settled(kind, way.name, min(lengths), max(lengths)))
            if exact:
                reference.append(known[-1])
            return way
        failures.append(f"{way.name}: off by {float((found.detach() - own).abs().max()):.2g}")
    raise InputError(
        f"{type(module).__name__} cannot be read: it answers otherwise in a batch than alone"
        f" ({'; '.join(failures)[:400]})"
    )


def _configuration(module: Any) -> str:
    named = {k: v for k, v in module.config.to_dict().items() if k not in ("dtype", "torch_dtype")}
    return f"{type(module).__name__} {json.dumps(named, sort_keys=True, default=str)}"


def is_exact(module: Any) -> bool:
    """Whether all of a model is in float32 or more, so that only the order of sums can differ.

    Rounded keys and values make a step of the last digit: 1e-6 of the input moved a logit by 1.9 at int4.
    """
    import torch

    if getattr(module, "rounds_states", False):
        return False
    kinds = {tensor.dtype for tensor in (*module.parameters(), *module.buffers())}
    return kinds <= {torch.float32, torch.float64, torch.bool, torch.int64}


def agree(module: Any, found: Any, own: Any, *, largest: float = 1.0) -> bool:
    """Whether two readings are one but for rounding.

    Float32 stays within 2e-5. Kernels of 16-bit and of quantized layers depend on the batch's shape:
    bfloat16 changed log-probabilities by 0.26, bitsandbytes' int8 by 0.43, where the largest logit
    was about 20. A mask that is not heeded shows with the full-precision model first.
    """
    own, found = own.detach().float().cpu(), found.detach().float().cpu()
    scale = max(1.0, largest, float(own.abs().max()))
    tolerance = FLOAT32_TOLERANCE if is_exact(module) else COARSE_TOLERANCE
    return bool((own - found).abs().max() <= tolerance * scale)


def check_causal(module: Any, tokens: Sequence[int], device: Any) -> None:
    """Raise :class:`InputError` if what a model says after a token depends on what follows it."""
    import torch

    if module in _causal or len(tokens) < 2:
        return
    at = len(tokens) // 2
    # As long as the text itself: what ProphetNet says depends on a text's length, and not on what follows.
    others = [next((o for o in tokens if o != token), max(0, token - 1)) for token in tokens[at:]]
    own, changed = (
        module(input_ids=torch.tensor([ids], device=device), **forward_options(module)).logits[0, :at]
        for ids in (list(tokens), [*tokens[:at], *others])
    )
    # Who asks names the item that is answered with NaN.
    if bool(own.isfinite().all()) and not agree(module, changed, own):
        raise InputError(
            f"{type(module).__name__} is no causal language model here: what it says after a token depends"
            " on the tokens that follow; if it can be one, set is_decoder in the model's config.json"
        )
    _causal.add(module)
