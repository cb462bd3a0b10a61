"""Bootstrap resamples of a set of items: drawn once, shared by whatever is measured on the items."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.records import Float64, Predictions, Strings, TopLabelPredictions
from calbench.seeds import SEED, Seed, seed_number
from calbench.statistics._design import Design

_MAX_RESAMPLES = 100_000
Counts = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, eq=False)
class Resamples:
    """How often each item appears in each bootstrap resample, ``(n, n_resamples)``.

    Rows follow the item ids in sorted order, whatever order they are given in. Every comparison
    that uses one object is paired, and the draw is paid for once; :func:`resamples_for` also
    remembers it, and draws only when a metric reads the counts.

    Parameters
    ----------
    item_ids : (n,) strings
        Unique.
    counts : (n, n_resamples) int
        Not negative; rows follow ``item_ids`` as given.

    Attributes
    ----------
    design
        How the items themselves were drawn: in clusters, from strata, with which weights.
    """

    item_ids: Strings
    n_resamples: int
    design: Design
    _draw: Callable[[], Counts]
    _source: str

    def __init__(self, item_ids: Iterable[object], counts: npt.ArrayLike) -> None:
        ids = np.array([str(item) for item in item_ids])
        values = np.asarray(counts)
        if values.ndim != 2 or len(values) != len(ids) or values.dtype.kind not in "iu":
            raise InputError(f"counts has shape {values.shape}; pass integers ({len(ids)}, n_resamples)")
        if values.size == 0 or values.min() < 0 or not values.any(axis=0).all():
            raise InputError("counts must not be negative, and every resample needs an item")
        order = np.argsort(ids)
        ids = ids[order]
        if (ids[1:] == ids[:-1]).any():
            raise InputError("item_ids repeat; ids must be unique")
        smallest = np.uint8 if values.max() < 256 else np.uint32
        if not (np.diff(order) == 1).all():
            values = values[order]
        kept: Counts = np.ascontiguousarray(values, dtype=smallest)
        source = hashlib.sha256(np.ascontiguousarray(kept[:, :8]).tobytes()).hexdigest()
        self._set(ids, values.shape[1], Design(len(ids)), lambda: kept, source)

    @classmethod
    def draw(
        cls,
        item_ids: Iterable[object],
        *,
        n_resamples: int = 2000,
        seed: Seed = SEED,
        clusters: Iterable[object] | None = None,
        strata: Iterable[object] | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Resamples:
        """Draw multinomial counts: each resample picks ``n`` of the ``n`` items with replacement.

        Parameters
        ----------
        item_ids : (n,)
            Unique.
        n_resamples
            Number of resamples.
        seed
            Of the draw.
        clusters, strata : (n,), optional
            The sampled unit and the fixed group of each item: whole units are drawn, in each group as many
            as it has.
        sample_weight : (n,), optional
            What each item counts.
        """
        ids, design = _checked(item_ids, n_resamples, clusters, strata, sample_weight)
        counts = design.drawn(n_resamples, np.random.default_rng(seed_number(seed)))
        source = hashlib.sha256(np.ascontiguousarray(counts[:, :8]).tobytes()).hexdigest()
        return cls._of(ids, n_resamples, design, lambda: counts, source)

    @classmethod
    def _of(
        cls, ids: Strings, n_resamples: int, design: Design, draw: Callable[[], Counts], source: str
    ) -> Resamples:
        made = object.__new__(cls)
        made._set(ids, n_resamples, design, draw, source)
        return made

    def _set(
        self, ids: Strings, n_resamples: int, design: Design, draw: Callable[[], Counts], source: str
    ) -> None:
        ids.setflags(write=False)
        values = {"item_ids": ids, "n_resamples": n_resamples, "design": design}
        for name, value in {**values, "_draw": draw, "_source": source}.items():
            object.__setattr__(self, name, value)

    @cached_property
    def counts(self) -> Counts:
        """How often each item appears, ``(n, n_resamples)``; drawn at the first reading."""
        counts = self._draw()
        counts.setflags(write=False)
        return counts

    @cached_property
    def weights(self) -> npt.NDArray[Any]:
        """What each item counts in each resample: its count, times its own weight if it has one."""
        own = self.design.weights
        return self.counts if own is None else np.asarray(self.counts * own[:, None])

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def totals(self) -> Float64:
        """Total weight of each resample, ``(n_resamples,)``."""
        return np.asarray(self.weights.sum(axis=0, dtype=np.float64))

    @cached_property
    def fingerprint(self) -> str:
        """What two metrics must share to be paired: a digest of the items and of the draw."""
        parts = ("\x00".join(self.item_ids.tolist()), self._source, self.design.fingerprint)
        return hashlib.sha256("\x00\x00".join(parts).encode()).hexdigest()

    def check(self, record: Predictions | TopLabelPredictions) -> None:
        """Raise :class:`InputError` unless the record holds exactly the items that were resampled."""
        ids = np.sort(record.item_ids)
        if len(ids) != len(self) or (ids != self.item_ids).any():
            odd = sorted(set(ids.tolist()) ^ set(self.item_ids.tolist()))
            raise InputError(
                f"the resamples are of {len(self)} items and the record has {len(ids)}; {odd[0]!r} is in"
                " one only. Draw the resamples for the record's own items, or take() the same items"
            )


def resamples_for(
    item_ids: Iterable[object],
    *,
    n_resamples: int = 2000,
    seed: Seed = SEED,
    clusters: Iterable[object] | None = None,
    strata: Iterable[object] | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> Resamples:
    """Return the resamples of a set of items, drawn when they are first read and then remembered.

    The same items (in any order), number and seed always give the same resamples; other items give
    independent ones. The last eight are kept, a byte an item and resample. Clusters, strata and weights are
    those of :meth:`Resamples.draw`, one for each id as given.

    Examples
    --------
    >>> a = resamples_for(["x", "y", "z"], n_resamples=100, seed=1)
    >>> a is resamples_for(["z", "y", "x"], n_resamples=100, seed=1)
    True
    """
    ids, number = [str(item) for item in item_ids], seed_number(seed)
    if clusters is None and strata is None and sample_weight is None:
        return _remembered(tuple(sorted(ids)), n_resamples, number)
    checked, design = _checked(ids, n_resamples, clusters, strata, sample_weight)
    return _lazily(checked, design, n_resamples, number)


@lru_cache(maxsize=8)
def _remembered(item_ids: tuple[str, ...], n_resamples: int, seed: int) -> Resamples:
    return _lazily(*_checked(item_ids, n_resamples, None, None, None), n_resamples=n_resamples, seed=seed)


def _lazily(ids: Strings, design: Design, n_resamples: int, seed: int) -> Resamples:
    digest = hashlib.sha256("\x00".join(ids.tolist()).encode()).digest()
    words = [seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()]

    def draw() -> Counts:
        return design.drawn(n_resamples, np.random.default_rng(words))

    return Resamples._of(ids, n_resamples, design, draw, f"{words} {n_resamples}")


def _checked(
    item_ids: Iterable[object],
    n_resamples: int,
    clusters: Iterable[object] | None,
    strata: Iterable[object] | None,
    sample_weight: npt.ArrayLike | None,
) -> tuple[Strings, Design]:
    """Return ids in sorted order and the design in theirs."""
    given = np.array([str(item) for item in item_ids])
    if not 1 <= n_resamples <= _MAX_RESAMPLES:
        raise InputError(f"n_resamples={n_resamples}; use 1 to {_MAX_RESAMPLES}")
    if not len(given):
        raise InputError("item_ids is empty; there is nothing to resample")
    order = np.argsort(given, kind="stable")
    ids = given[order]
    if (ids[1:] == ids[:-1]).any():
        raise InputError("item_ids repeat; ids must be unique")
    design = Design.of(len(ids), clusters=clusters, strata=strata, sample_weight=sample_weight)
    return ids, design.reordered(order)
