"""Bins of confidence: which bin an item is in, and what a calibration error makes of the bins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._weighted import Finish, Statistic, SumStatistic, Term
from calbench.records import Float64

# A confidence is as exact as float32 can be, whoever stored it: far less than the tolerance.
TOLERANCE = 1e-6
EDGES = "right-closed, the first bin also contains 0; an edge has a tolerance of 1e-6"
NORMS = ("l1", "l2", "max")
CHUNK = 65_536  # items whose temporaries stay in a core's cache


@dataclass(frozen=True)
class Norm:
    """How the gaps of the bins become one number.

    ``l1`` averages ``|gap|`` over the items, ``l2`` is the root of the average ``gap²``, ``max`` the
    largest gap among bins with at least ``min_count`` items.
    """

    name: str
    min_count: int = 1
    n_samples: int = 1

    def __post_init__(self) -> None:
        if self.name not in NORMS:
            raise InputError(f"norm={self.name!r} is not one of {', '.join(NORMS)}")
        if self.min_count < 1:
            raise InputError(f"min_count={self.min_count}; a bin needs at least one item")

    def __call__(self, gap_sums: Float64, weights: Float64, totals: Float64) -> Float64:
        """Return ``(r,)`` from weighted gap sums and weights ``(n_bins, r)`` and totals ``(r,)``."""
        sizes: Float64 = np.abs(gap_sums)
        if self.name == "l1":
            return np.asarray(sizes.sum(axis=0) / totals)
        if self.name == "l2":
            squares = np.divide(sizes**2, weights, out=np.zeros_like(sizes), where=weights > 0)
            return np.asarray(np.sqrt(squares.sum(axis=0) / totals))
        kept = (weights > 0) & at_least(self.min_count, effective_counts(weights, totals, self.n_samples))
        if not kept.any(axis=0).all():
            raise InputError(f"no bin has {self.min_count} items; lower min_count or n_bins")
        means = np.divide(sizes, weights, out=np.zeros_like(sizes), where=kept)
        return np.asarray(means.max(axis=0))


def effective_counts(weights: Float64, totals: Float64, n_samples: int) -> Float64:
    """Return how many items a weight stands for: weights are relative, so they sum to ``n_samples``."""
    return np.asarray(weights * (n_samples / totals))


def at_least(minimum: float, counts: Float64) -> npt.NDArray[np.bool_]:
    """Compare counts that are whole numbers but for rounding."""
    return np.asarray(counts >= minimum * (1 - 1e-9))


def check_n_bins(n_bins: int) -> int:
    """Return the number of bins, or refuse what is no positive whole number."""
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise InputError(f"n_bins={n_bins!r}; use a whole number of bins, at least 1")
    return int(n_bins)


def uniform_bins(values: Float64, n_bins: int, *, out: Float64 | None = None) -> npt.NDArray[np.intp]:
    """Return the bin ``(n,)`` of each value in [0, 1] among ``n_bins`` of equal width.

    Bin ``b`` is ``(b / n_bins, (b + 1) / n_bins]`` and the first also contains 0. What exceeds an
    edge by less than 1e-6 counts as being on it, so that 0.6 and 9 * (1 / 15) share a bin, and so do a
    confidence and what is left of it in float32. ``out (n,)`` is scratch space.
    """
    scaled = np.multiply(values, n_bins, out=out)
    scaled -= n_bins * TOLERANCE
    # Truncation is towards zero, which keeps 0 in the first bin.
    return scaled.astype(np.intp)


@dataclass(frozen=True, eq=False)
class QuantileStatistic:
    """A function of sums in bins of equal weight, along items sorted by confidence.

    Equal weights give the bins of ``numpy.array_split`` after a stable sort: the first
    ``n % n_bins`` bins hold one item more. Other weights move each edge to the same share of the
    total weight; an item across an edge is divided. Whole-number weights that sum to ``n``, such
    as a resample's, are the same as repeating items.
    """

    order: npt.NDArray[np.intp]
    columns: tuple[Float64, ...]
    ends: npt.NDArray[np.intp]
    finish: Finish

    @classmethod
    def of(
        cls, confidences: Float64, columns: tuple[Float64, ...], n_bins: int, finish: Finish
    ) -> QuantileStatistic:
        """Sort the items and place the edges; ``columns`` are what is summed per bin."""
        n = len(confidences)
        order = np.argsort(confidences, kind="stable")
        sizes = np.full(n_bins, n // n_bins)
        sizes[: n % n_bins] += 1
        return cls(order, tuple(column[order] for column in columns), np.cumsum(sizes), finish)

    def __call__(self, weights: Float64) -> Float64:
        """Return ``(r,)`` values for weights ``(n, r)``."""
        n = len(self.order)
        ordered = np.ascontiguousarray(weights[self.order].T)
        reached = np.cumsum(ordered, axis=1)
        totals = reached[:, -1]
        # A total of n leaves the edges the whole numbers they are.
        ends = self.ends * (totals / n)[:, None]
        last = np.stack([np.searchsorted(*pair) for pair in zip(reached, ends, strict=True)])
        last = np.minimum(last, n - 1)
        beyond = np.take_along_axis(reached, last, axis=1) - ends
        sums = []
        for column in self.columns:
            column_reached = np.cumsum(ordered * column, axis=1)
            column_ends = np.take_along_axis(column_reached, last, axis=1) - beyond * column[last]
            sums.append(np.diff(column_ends, axis=1, prepend=0.0).T)
        return self.finish(totals, tuple(sums))


@dataclass(frozen=True, eq=False)
class GapTerm:
    """Confidence minus correctness in equal-width bins; a :class:`Term` that is made when needed.

    A plain sum over millions of items costs little more than one ``bincount``, because bins and gaps
    are made a piece at a time and never leave a core's cache.
    """

    items: Outcomes
    n_groups: int

    @property
    def values(self) -> Float64:
        """Gaps ``(n,)``."""
        return self.items.gaps

    @cached_property
    def groups(self) -> npt.NDArray[np.intp]:
        """Bins ``(n,)``."""
        return uniform_bins(self.items.confidences, self.n_groups)

    def sums(self, weight: Float64) -> Float64:
        """Weighted sum per bin, ``(n_bins,)``."""
        return Term(self.values, self.groups, self.n_groups).sums(weight)

    def plain_sums(self) -> Float64:
        """Sum per bin, ``(n_bins,)``, all items weighing 1."""
        total: Float64 = np.zeros(self.n_groups)
        scaled, gaps = np.empty(CHUNK), np.empty(CHUNK)
        for start in range(0, len(self.items), CHUNK):
            confidences = self.items.confidences[start : start + CHUNK]
            size = len(confidences)
            bins = uniform_bins(confidences, self.n_groups, out=scaled[:size])
            part = np.subtract(confidences, self.items.correct[start : start + size], out=gaps[:size])
            total += np.bincount(bins, weights=part, minlength=self.n_groups)
        return total


def binned_statistic(
    items: Outcomes, columns: tuple[Float64, ...], n_bins: int, strategy: str, finish: Finish
) -> Statistic:
    """Return a function of sums in ``uniform`` or ``quantile`` bins of top-1 confidence.

    ``columns`` are the per-item values ``(n,)``; ``finish(totals, sums)`` gets the total weights
    ``(r,)`` and, per column, sums ``(n_bins, r)``.
    """
    check_n_bins(n_bins)
    if strategy == "uniform":
        bins = uniform_bins(items.confidences, n_bins)
        return SumStatistic(tuple(Term(column, bins, n_bins) for column in columns), finish)
    if strategy == "quantile":
        return QuantileStatistic.of(items.confidences, columns, n_bins, finish)
    raise InputError(f"strategy={strategy!r} is neither 'uniform' nor 'quantile'")


def confidence_bins(confidences: Float64, n_bins: int, strategy: str) -> npt.NDArray[np.intp]:
    """Return each item's bin ``(n,)``, all items weighing alike."""
    if strategy == "uniform":
        return uniform_bins(confidences, n_bins)
    bins = np.empty(len(confidences), dtype=np.intp)
    parts = np.array_split(np.argsort(confidences, kind="stable"), n_bins)
    for number, rows in enumerate(parts):
        bins[rows] = number
    return bins


def norm_statistic(items: Outcomes, n_bins: int, strategy: str, norm: Norm) -> Statistic:
    """Return a norm of the gaps of the bins."""
    if norm.name == "l1":  # needs no weights
        finish: Finish = lambda totals, sums: norm(sums[0], sums[0], totals)  # noqa: E731
        if strategy == "uniform":
            return SumStatistic((GapTerm(items, check_n_bins(n_bins)),), finish)
        return binned_statistic(items, (items.gaps,), n_bins, strategy, finish)
    columns = (items.gaps, np.ones(len(items)))
    return binned_statistic(
        items, columns, n_bins, strategy, lambda totals, sums: norm(sums[0], sums[1], totals)
    )
