"""Bootstrap resamples of a set of items: drawn once, shared by whatever is measured on the items."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.records import Float64, Predictions, Strings, TopLabelPredictions

_CHUNK_ELEMENTS = 400_000  # drawn at a time
_MAX_RESAMPLES = 100_000


@dataclass(frozen=True, eq=False)
class Resamples:
    """How often each item appears in each bootstrap resample, ``(n, n_resamples)``.

    Rows follow the item ids in sorted order, whatever order they are given in. Every comparison
    that uses one object is paired, and the draw is paid for once; :func:`resamples_for` also
    remembers it.

    Parameters
    ----------
    item_ids : (n,) strings
        Unique.
    counts : (n, n_resamples) int
        Not negative; rows follow ``item_ids`` as given.
    """

    item_ids: Strings
    counts: npt.NDArray[np.unsignedinteger]

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
        _freeze(self, ids, np.ascontiguousarray(values, dtype=smallest))

    @classmethod
    def draw(
        cls, item_ids: Iterable[object], *, n_resamples: int = 2000, rng: np.random.Generator
    ) -> Resamples:
        """Draw multinomial counts: each resample picks ``n`` of the ``n`` items with replacement."""
        ids = sorted(str(item) for item in item_ids)
        if not 1 <= n_resamples <= _MAX_RESAMPLES:
            raise InputError(f"n_resamples={n_resamples}; use 1 to {_MAX_RESAMPLES}")
        if not ids:
            raise InputError("item_ids is empty; there is nothing to resample")
        n = len(ids)
        index = np.uint16 if n <= 2**16 else np.int64
        counts = np.empty((n, n_resamples), dtype=np.uint8)
        step = max(1, _CHUNK_ELEMENTS // n)
        for start in range(0, n_resamples, step):
            width = min(step, n_resamples - start)
            flat = rng.integers(n, size=(n, width), dtype=index).astype(np.intp)
            flat *= width
            flat += np.arange(width)
            drawn = np.bincount(flat.ravel(), minlength=n * width).reshape(n, width)
            # 256 draws of one item have a probability below 1e-500.
            counts[:, start : start + width] = drawn
        return cls(ids, counts)

    @property
    def n_resamples(self) -> int:
        """Number of resamples."""
        return int(self.counts.shape[1])

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def totals(self) -> Float64:
        """Number of items in each resample, ``(n_resamples,)``."""
        return np.asarray(self.counts.sum(axis=0, dtype=np.float64))

    @cached_property
    def fingerprint(self) -> str:
        """What two metrics must share to be paired: a digest of the items and of the first draws."""
        parts = (
            "\x00".join(self.item_ids.tolist()).encode(),
            np.ascontiguousarray(self.counts[:, :8]).tobytes(),
        )
        return hashlib.sha256(b"\x00\x00".join(parts)).hexdigest()

    def check(self, record: Predictions | TopLabelPredictions) -> None:
        """Raise :class:`InputError` unless the record holds exactly the items that were resampled."""
        ids = np.sort(record.item_ids)
        if len(ids) != len(self) or (ids != self.item_ids).any():
            odd = sorted(set(ids.tolist()) ^ set(self.item_ids.tolist()))
            raise InputError(
                f"the resamples are of {len(self)} items and the record has {len(ids)}; {odd[0]!r} is in"
                " one only. Draw the resamples for the record's own items, or take() the same items"
            )


def resamples_for(item_ids: Iterable[object], *, n_resamples: int = 2000, seed: int = 0) -> Resamples:
    """Return the resamples of a set of items, drawn at the first call and then remembered.

    The same items (in any order), number and seed always give the same resamples; other items give
    independent ones. The last eight are kept, a byte an item and resample.

    Examples
    --------
    >>> a = resamples_for(["x", "y", "z"], n_resamples=100, seed=1)
    >>> a is resamples_for(["z", "y", "x"], n_resamples=100, seed=1)
    True
    """
    return _remembered(tuple(sorted(str(item) for item in item_ids)), n_resamples, seed)


@lru_cache(maxsize=8)
def _remembered(item_ids: tuple[str, ...], n_resamples: int, seed: int) -> Resamples:
    digest = hashlib.sha256("\x00".join(item_ids).encode()).digest()
    rng = np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])
    return Resamples.draw(item_ids, n_resamples=n_resamples, rng=rng)


def resamples_of(
    record: Predictions | TopLabelPredictions, rng: np.random.Generator | Resamples, n_resamples: int
) -> Resamples:
    """Draw resamples of a record's items from a generator, or check that those given are of them."""
    if isinstance(rng, Resamples):
        rng.check(record)
        return rng
    if not isinstance(rng, np.random.Generator):
        raise InputError(
            f"rng is a {type(rng).__name__}; pass numpy.random.default_rng(seed), or Resamples to share"
        )
    return Resamples.draw(record.item_ids, n_resamples=n_resamples, rng=rng)


def _freeze(resamples: Resamples, ids: Strings, counts: npt.NDArray[np.unsignedinteger]) -> None:
    ids.setflags(write=False)
    counts.setflags(write=False)
    object.__setattr__(resamples, "item_ids", ids)
    object.__setattr__(resamples, "counts", counts)
