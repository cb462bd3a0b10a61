"""A loaded model and labelled items give logits: in a fixed order, in batches, one shard after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError, UnanswerableError
from calbench.inference._choices import choice_method
from calbench.inference._classification import text_method
from calbench.inference._methods import Method
from calbench.inference._requests import request_method
from calbench.inference._shards import NoShards, Shards, plan_hash
from calbench.inference._tokens import encode
from calbench.models import ModelSource
from calbench.records import Float32, softmax
from calbench.tasks import ChoiceRequest, ClassificationRequest, DecisionRequest, HarnessRequest, LabelledItem

Request = ClassificationRequest | ChoiceRequest | HarnessRequest | DecisionRequest

MAX_ITEMS = 64
TOKENS_PER_SHARD = 16_384
N_REPEATED = 8


@dataclass(frozen=True)
class Scored:
    """Logits ``(n_items, n_classes)`` in the items' order, and how they came about.

    Parameters
    ----------
    logits
        Float32; where an item has fewer options the rest is ``-inf``.
    n_truncated
        How many inputs were cut to fit.
    n_asked
        How many different inputs there were: equal ones are asked once.
    n_shards, n_reused
        Parts of the run, and how many of them an earlier run had finished.
    engine
        How the model was read.
    noise_floor
        The largest difference that asking some items alone made to their logits: what is smaller
        than this between two records is no finding.
    confidence_floor
        By how much it moved the largest probability on average: in the unit of a calibration error.
    """

    logits: Float32
    n_truncated: int
    n_asked: int = 0
    n_shards: int = 0
    n_reused: int = 0
    engine: str = ""
    noise_floor: float = 0.0
    confidence_floor: float = 0.0


def score(
    module: Any,
    tokenizer: Any,
    source: ModelSource,
    request: Request,
    items: Sequence[LabelledItem],
    *,
    shards: Shards | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Scored:
    """Ask the model about every item.

    Inputs are sorted by length, batched under a token budget, and packed where the method can, so
    little of a batch is padding.
    The same items give the same batches and shards, whatever order they come in and wherever an
    earlier run stopped.

    Parameters
    ----------
    module : torch.nn.Module
        The model, in evaluation mode.
    tokenizer
        The reference model's tokenizer, also for quantized models.
    source, request
        What the model is and how the task asks it.
    items
        What to score.
    shards
        Where finished parts are kept and found.
    on_progress
        Is called after each batch with the number of items done, as their tokens have it: long items come
        first, so that a count of items would promise too little time at the end and far too much before.

    Raises
    ------
    InputError
        An item cannot be asked in this way, or the model answers with NaN.
    """
    import torch

    if not items:
        raise InputError("there are no items to score")
    shards = shards or NoShards()
    with torch.inference_mode():
        method = _method(module, tokenizer, source, request, items)
        asked = _different(method, items)
        logits = np.empty((len(items), method.width), dtype=np.float32)
        parts = list(_shards(method, list(asked)))
        sizes = {row: method.lengths[row] * len(alike) for row, alike in asked.items()}
        n_tokens, n_reused = 0, 0

        def tell(n_more: int) -> None:
            on_progress(len(items) * (n_tokens + n_more) // sum(sizes.values()))

        for index, part in enumerate(parts):
            rows = [row for batch in part for row in batch]
            name = f"{index:05}-{plan_hash([[items[row].id for row in batch] for batch in part])}"
            values = shards.get(name, (len(rows), method.width))
            n_reused += values is not None
            if values is None:
                values = _read(method, part, sizes, tell)
                _check_finite(source, items, rows, values)
                shards.put(name, values)
            for row, value in zip(rows, values, strict=True):
                logits[asked[row]] = value
                n_tokens += sizes[row]
            tell(0)
        floors = _noise_floors(method, list(asked), logits)
    return Scored(logits, method.n_truncated, len(asked), len(parts), n_reused, method.engine, *floors)


def encode_texts(
    tokenizer: Any, source: ModelSource, request: ClassificationRequest, items: Sequence[LabelledItem]
) -> list[list[int]]:
    """Return each item's model input as token ids, cut to the model's length."""
    if any(map(request.second, items)):
        raise InputError("adapters are not trained on pairs of texts; choose a task of single texts")
    return [list(text.tokens) for text in encode(tokenizer, source, request, items)[0]]


def batches(method: Method, rows: Sequence[int]) -> Iterator[list[int]]:
    """Yield batches of rows of similar length, longest first, within the token budget."""
    batch: list[int] = []
    for row in rows:
        if batch and (len(batch) == MAX_ITEMS or _n_tokens(method, [*batch, row]) > method.budget):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _n_tokens(method: Method, batch: Sequence[int]) -> int:
    """Return what a batch takes of the budget; its longest item comes first."""
    if method.packs:
        return sum(method.lengths[row] for row in batch)
    return len(batch) * method.lengths[batch[0]]


def _method(
    module: Any, tokenizer: Any, source: ModelSource, request: Request, items: Sequence[LabelledItem]
) -> Method:
    if isinstance(request, DecisionRequest):
        raise UnanswerableError(f"{source.id} is no decision server, and is asked no typed questions")
    if isinstance(request, HarnessRequest):
        return request_method(module, tokenizer, source, request, items)
    if isinstance(request, ChoiceRequest):
        return choice_method(module, tokenizer, source, request, items)
    return text_method(module, tokenizer, source, request, items)


def _read(
    method: Method, part: Sequence[list[int]], sizes: Mapping[int, int], tell: Callable[[int], None]
) -> Float32:
    values: list[Float32] = []
    n_tokens = 0
    for batch in part:
        values.append(method.read(batch))
        n_tokens += sum(sizes[row] for row in batch)
        tell(n_tokens)
    return np.concatenate(values)


def _noise_floors(method: Method, rows: Sequence[int], logits: Float32) -> tuple[float, float]:
    """Ask a few items again, each alone: batches are a choice, and change the last digits."""
    n_repeated = min(len(rows), max(2, min(N_REPEATED, len(rows) // 50)))  # costs 2% or less
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, n_repeated).astype(int)]
    alone = np.concatenate([method.read([row]) for row in chosen]).astype(np.float64)
    return moved_by_asking(alone, logits[chosen])


def moved_by_asking(again: npt.ArrayLike, first: npt.ArrayLike) -> tuple[float, float]:
    """Return by how much logits ``(n, k)`` moved at most, and the largest probability on average."""
    ours, theirs = (np.asarray(logits, dtype=np.float64) for logits in (again, first))
    known = np.isfinite(ours)
    sure = softmax(ours).max(axis=1) - softmax(theirs).max(axis=1)
    return float(np.abs(ours[known] - theirs[known]).max()), float(np.abs(sure).mean())


def _different(method: Method, items: Sequence[LabelledItem]) -> dict[int, list[int]]:
    """Return one row of each different input, longest first, with all the rows that share it."""
    order = sorted(range(len(items)), key=lambda row: (-method.lengths[row], items[row].id))
    first: dict[Any, int] = {}
    asked: dict[int, list[int]] = {}
    for row in order:
        representative = first.setdefault(method.inputs[row], row)
        asked.setdefault(representative, []).append(row)
    return asked


def _shards(method: Method, rows: Sequence[int]) -> Iterator[list[list[int]]]:
    """Yield runs of whole batches, each of about as many tokens."""
    part: list[list[int]] = []
    n_tokens = 0
    for batch in batches(method, rows):
        part.append(batch)
        n_tokens += _n_tokens(method, batch)
        if n_tokens >= TOKENS_PER_SHARD:
            yield part
            part, n_tokens = [], 0
    if part:
        yield part


def _check_finite(
    source: ModelSource, items: Sequence[LabelledItem], rows: Sequence[int], values: Float32
) -> None:
    # Only -inf may pad, and only after an option.
    bad = np.isnan(values).any(axis=1) | (values == np.inf).any(axis=1) | ~np.isfinite(values[:, 0])
    if bad.any():
        raise InputError(
            f"{source.id} answered {int(bad.sum())} of {len(rows)} items with NaN or infinite logits,"
            f" {items[rows[int(np.argmax(bad))]].id!r} first; is its compute dtype too narrow?"
        )
