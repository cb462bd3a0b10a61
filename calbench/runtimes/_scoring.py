"""Prepared items are asked, several at once: finished parts are kept, and a half-answered item never is."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from calbench.errors import InputError, ServerError
from calbench.inference import Scored, Shards, moved_by_asking
from calbench.records import Float32
from calbench.runtimes._http import as_documented
from calbench.runtimes._protocol import Prepared
from calbench.tasks import LabelledItem

ITEMS_PER_SHARD = 32
N_REPEATED = 64

Answer = Future[Sequence[float]]


def ask_all(
    prepared: Prepared,
    items: Sequence[LabelledItem],
    *,
    n_at_once: int,
    shards: Shards,
    on_progress: Callable[..., None],
    check_unchanged: Callable[[], None] = lambda: None,
) -> Scored:
    """Ask every item that no finished part answers; before one is kept, ask who it was that answered.

    Raises
    ------
    InputError
        There are no items, or an answer is not finite.
    ServerError
        The server failed for longer than is worth waiting; what was finished is kept.
    """
    if not items:
        raise InputError("there are no items to score")
    asked = _different(prepared)
    logits = np.full((len(items), prepared.width), -np.inf, dtype=np.float32)
    firsts = list(asked)
    parts = [firsts[i : i + ITEMS_PER_SHARD] for i in range(0, len(firsts), ITEMS_PER_SHARD)]
    names = [f"{i:05}-{_hash([items[row].id for row in part])}" for i, part in enumerate(parts)]
    kept = [shards.get(n, (len(part), prepared.width)) for n, part in zip(names, parts, strict=True)]
    meter = _Meter(on_progress)
    with _pool(n_at_once) as pool:
        under_way = _Window(
            pool, prepared, [p for p, found in zip(parts, kept, strict=True) if found is None]
        )
        for name, part, found in zip(names, parts, kept, strict=True):
            values = found
            if values is None:
                values = _answers(under_way.next(), prepared, items, part)
                check_unchanged()
                shards.put(name, values)
                meter.spent(sum(prepared.sizes[row] for row in part))
            for row, value in zip(part, values, strict=True):
                logits[asked[row]] = value
            meter.done(sum(len(asked[row]) for row in part))
    n_reused = sum(found is not None for found in kept)
    floors = _noise_floors(prepared, items, firsts, logits, n_at_once)
    return Scored(logits, prepared.n_truncated, len(asked), len(parts), n_reused, prepared.engine, *floors)


@contextmanager
def _pool(n_at_once: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(n_at_once, thread_name_prefix="calbench-ask")
    try:
        yield pool
    finally:  # after a failure what is not under way is not asked any more
        pool.shutdown(wait=True, cancel_futures=True)


class _Meter:
    """Tells how many items are done, and how many prompt tokens a second."""

    def __init__(self, on_progress: Callable[..., None]) -> None:
        self._tell, self._started = on_progress, time.perf_counter()
        self._n_items = self._n_tokens = 0

    def spent(self, n_tokens: int) -> None:
        self._n_tokens += n_tokens

    def done(self, n_items: int) -> None:
        self._n_items += n_items
        speed = self._n_tokens / max(time.perf_counter() - self._started, 1e-9)
        note = f"{self._n_tokens:,} tokens, {speed:,.0f} a second" if self._n_tokens else ""
        self._tell(self._n_items, note)


class _Window:
    """Keeps two parts under way, so that nobody waits for a part's slowest item."""

    def __init__(self, pool: ThreadPoolExecutor, prepared: Prepared, parts: Sequence[Sequence[int]]) -> None:
        self._pool, self._prepared, self._parts = pool, prepared, iter(parts)
        self._open: deque[list[Answer]] = deque()
        self._submit()

    def _submit(self) -> None:
        part = next(self._parts, None)
        if part is not None:
            ask, inputs = self._prepared.ask, self._prepared.inputs
            self._open.append([self._pool.submit(ask, inputs[row]) for row in part])

    def next(self) -> list[Answer]:
        """Return the answers to the next part, some of them still to come."""
        self._submit()
        return self._open.popleft()


def _answers(
    futures: Sequence[Answer], prepared: Prepared, items: Sequence[LabelledItem], part: Sequence[int]
) -> Float32:
    values = np.full((len(part), prepared.width), -np.inf, dtype=np.float32)
    for place, (row, future) in enumerate(zip(part, futures, strict=True)):
        try:
            with as_documented(prepared.engine):
                answer = future.result()
            _check(answer)
        except (ServerError, InputError) as error:
            where = prepared.where
            told = str(error) if where in str(error) else f"{where}: {error}"
            raise (InputError if isinstance(error, InputError) else ServerError)(
                f"item {items[row].id!r}: {told} (what was finished is kept: the same command goes on there)"
            ) from error
        values[place, : len(answer)] = answer
    return values


def _check(answer: Sequence[float]) -> None:
    if not len(answer) or not np.isfinite(answer).all():
        raise ServerError(f"the answer is {list(answer)}, and every number must be finite")


def _different(prepared: Prepared) -> dict[int, list[int]]:
    """Return one row of each different input, in the items' order, with all the rows that share it."""
    first: dict[object, int] = {}
    asked: dict[int, list[int]] = {}
    for row, question in enumerate(prepared.inputs):
        asked.setdefault(first.setdefault(question, row), []).append(row)
    return asked


def _noise_floors(
    prepared: Prepared,
    items: Sequence[LabelledItem],
    rows: Sequence[int],
    logits: Float32,
    n_at_once: int,
) -> tuple[float, float]:
    """Ask a few items again, in another order: what a server's batches and caches change is no finding."""
    n_repeated = min(len(rows), max(2, min(N_REPEATED, len(rows) // 50)))  # costs 2% or less
    chosen = [rows[i] for i in np.linspace(len(rows) - 1, 0, n_repeated).astype(int)]
    with _pool(n_at_once) as pool:
        futures = [pool.submit(prepared.ask, prepared.inputs[row]) for row in chosen]
        again = _answers(futures, prepared, items, chosen)
    return moved_by_asking(again, logits[chosen])


def _hash(ids: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
