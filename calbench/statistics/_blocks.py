"""Resamples of very many items: whole blocks of them are drawn, so that memory does not grow with both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.metrics import Statistic, SumStatistic, TermLike
from calbench.records import Float64
from calbench.seeds import Seed, seed_number
from calbench.statistics._resamples import Resamples

N_BLOCKS = 4096
_MAX_GROUPS = 1_000
MAX_COUNTS = 400_000_000  # a byte each: from there on items are drawn in blocks


def too_many(n_items: int, n_resamples: int) -> bool:
    """Whether a count for each item and resample would take more memory than is reasonable."""
    return n_items * n_resamples > MAX_COUNTS


def block_values(
    statistics: Mapping[str, Statistic], n_items: int, *, n_resamples: int, seed: Seed
) -> dict[str, Float64]:
    """Return statistics on resamples of random blocks of the items, each ``(n_resamples,)``.

    Items are independent, so a statistic varies over resampled blocks as it does over resampled
    items; with 4096 blocks its standard error is itself known to about 1%. All statistics see the
    same resamples.

    Parameters
    ----------
    statistics
        By the metrics' names; each must be a function of a few sums, as means and binned errors are.
    n_items
        Number of items.
    n_resamples, seed
        As for any resamples.
    """
    for name, statistic in statistics.items():
        if not isinstance(statistic, SumStatistic) or any(t.n_groups > _MAX_GROUPS for t in statistic.terms):
            raise InputError(
                f"{n_items:,} items cannot be resampled {n_resamples:,} times one by one, and {name} is no"
                " function of a few sums: leave it out, take a sample of the items, or use fewer resamples"
            )
    rng = np.random.default_rng(seed_number(seed))
    blocks = rng.permutation(n_items) % N_BLOCKS
    counts = Resamples.draw(range(N_BLOCKS), n_resamples=n_resamples, seed=rng).counts.astype(np.float64)
    totals = np.bincount(blocks, minlength=N_BLOCKS) @ counts
    return {
        name: statistic.finish(totals, tuple(_sums(term, blocks) @ counts for term in statistic.terms))
        for name, statistic in statistics.items()
        if isinstance(statistic, SumStatistic)
    }


def _sums(term: TermLike, blocks: npt.NDArray[np.intp]) -> Float64:
    """Return a term's sums, ``(n_groups, n_blocks)``."""
    places = blocks if term.groups is None else term.groups * N_BLOCKS + blocks
    sums = np.bincount(places, weights=term.values, minlength=term.n_groups * N_BLOCKS)
    return sums.reshape(term.n_groups, N_BLOCKS).astype(np.float64, copy=False)
