"""A metric of fixed items, as a function of how much each item counts.

Everything that does not depend on the weights (sorting, binning, per-item losses) is done once, when
the statistic is made; what is left is cheap for one weight vector and for thousands of resamples.
Weights are always ``(n, r)``: a column is one weighting of the items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.metrics._outcomes import Outcomes, check_sample_weight
from calbench.records import Float64

_BLOCK = 400_000  # float64 weights that stay in a core's cache while they are used
_MAX_SUMS = 4_000_000  # sums kept at a time


class Statistic(Protocol):
    """A metric's value for each weighting of the items."""

    def __call__(self, weights: Float64) -> Float64:
        """Return ``(r,)`` values for weights ``(n, r)``."""
        ...


@dataclass(frozen=True, eq=False)
class Term:
    """Values to be added up over the items, each into the group it belongs to.

    Parameters
    ----------
    values : (n,) float
        What each item contributes, times its weight.
    groups : (n,) int, optional
        The group, such as a bin, from 0; without it all items share one.
    n_groups
        Number of groups; those without items sum to 0.
    """

    values: Float64
    groups: npt.NDArray[np.integer] | None = None
    n_groups: int = 1

    def sums(self, weight: Float64) -> Float64:
        """Weighted sum per group, ``(n_groups,)``, for one weighting ``(n,)``."""
        if self.groups is None:
            return np.array([weight @ self.values])
        sums = np.bincount(self.groups, weights=weight * self.values, minlength=self.n_groups)
        return sums.astype(np.float64, copy=False)

    def plain_sums(self) -> Float64:
        """Sum per group, ``(n_groups,)``, all items weighing 1."""
        if self.groups is None:
            return np.array([self.values.sum()])
        sums = np.bincount(self.groups, weights=self.values, minlength=self.n_groups)
        return sums.astype(np.float64, copy=False)


class TermLike(Protocol):
    """What a statistic asks of its terms: those of :class:`Term`, perhaps computed only when needed."""

    @property
    def values(self) -> Float64: ...

    @property
    def groups(self) -> npt.NDArray[np.integer] | None: ...

    @property
    def n_groups(self) -> int: ...

    def sums(self, weight: Float64) -> Float64: ...

    def plain_sums(self) -> Float64: ...


Finish = Callable[[Float64, tuple[Float64, ...]], Float64]


@dataclass(frozen=True, eq=False)
class SumStatistic:
    """A metric that is a function of weighted sums.

    ``finish(totals, sums)`` gets the total weights ``(r,)`` and, for each term, sums
    ``(n_groups, r)``.
    """

    terms: tuple[TermLike, ...]
    finish: Finish

    def __call__(self, weights: Float64) -> Float64:
        """Return ``(r,)`` values for weights ``(n, r)``."""
        if weights.shape[1] == 1:  # a bincount is cheaper than building a sparse matrix
            weight = np.ascontiguousarray(weights[:, 0])
            sums = tuple(term.sums(weight)[:, None] for term in self.terms)
            return self.finish(weight.sum(keepdims=True), sums)
        return evaluate_together([self], weights)[0]


def mean_of(values: npt.NDArray[np.generic]) -> SumStatistic:
    """Return the weighted mean of per-item values ``(n,)``."""
    return SumStatistic((Term(values.astype(np.float64)),), lambda totals, sums: sums[0][0] / totals)


def point(statistic: Statistic, items: Outcomes, sample_weight: npt.ArrayLike | None) -> float:
    """Return the statistic's value for one weighting, checked here; None weighs all items alike.

    Raises
    ------
    InputError
        The weights cannot be used, or the metric is not defined for these items.
    """
    if sample_weight is None:
        value = unweighted(statistic, len(items))
    else:
        weight = check_sample_weight(sample_weight, len(items))
        value = float(statistic(weight[:, None])[0])
    if math.isnan(value):
        raise InputError(
            f"the metric is not defined for these {len(items)} items: what it divides by is empty"
            " (say, no wrong answer, or none above the threshold)"
        )
    return value


def unweighted(statistic: Statistic, n_items: int) -> float:
    """Return the statistic's value when all items weigh alike; NaN where it is not defined."""
    if isinstance(statistic, SumStatistic):
        sums = tuple(term.plain_sums()[:, None] for term in statistic.terms)
        return float(statistic.finish(np.array([float(n_items)]), sums)[0])
    return float(statistic(np.ones((n_items, 1)))[0])


def ratio(numerator: Float64, denominator: Float64) -> Float64:
    """Divide, with NaN where the denominator is 0: not defined, rather than a guess."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator != 0)


def tie_groups(confidences: Float64) -> tuple[npt.NDArray[np.intp], int]:
    """Return each item's rank among the distinct confidences, ascending, and how many there are."""
    distinct, ranks = np.unique(confidences, return_inverse=True)
    return ranks, len(distinct)


def evaluate_together(
    statistics: Sequence[Statistic], weights: npt.NDArray[Any], totals: Float64 | None = None
) -> list[Float64]:
    """Return each statistic's ``(r,)`` values for all weightings ``(n, r)``, of whatever number type.

    All sums of all statistics are taken in one sparse product, block by block, so that the weights
    are read once however many metrics there are. ``totals (r,)`` are the weights' sums, if known.
    """
    linear = [statistic for statistic in statistics if isinstance(statistic, SumStatistic)]
    found = iter(_evaluate_sums(linear, weights, totals) if linear else ())
    return [
        next(found) if isinstance(statistic, SumStatistic) else _by_columns(statistic, weights)
        for statistic in statistics
    ]


def _evaluate_sums(
    statistics: Sequence[SumStatistic], weights: npt.NDArray[Any], totals: Float64 | None
) -> list[Float64]:
    matrix = _stack_terms([term for statistic in statistics for term in statistic.terms])
    if totals is None:
        totals = weights.sum(axis=0, dtype=np.float64)
    parts: list[list[Float64]] = [[] for _ in statistics]
    width = max(1, _MAX_SUMS // matrix.shape[0])
    for start in range(0, weights.shape[1], width):
        columns = slice(start, start + width)
        sums = _product(matrix, weights[:, columns])
        row = 0
        for statistic, part in zip(statistics, parts, strict=True):
            blocks = []
            for term in statistic.terms:
                blocks.append(sums[row : row + term.n_groups])
                row += term.n_groups
            part.append(statistic.finish(totals[columns], tuple(blocks)))
    return [np.concatenate(part) for part in parts]


def _product(matrix: scipy.sparse.csc_array, weights: npt.NDArray[Any]) -> Float64:
    """Multiply, converting only as many items' weights at a time as stay in a core's cache."""
    result = np.zeros((matrix.shape[0], weights.shape[1]))
    height = max(1, _BLOCK // weights.shape[1])
    for start in range(0, len(weights), height):
        rows = slice(start, start + height)
        result += matrix[:, rows] @ weights[rows].astype(np.float64)
    return result


def _by_columns(statistic: Statistic, weights: npt.NDArray[Any]) -> Float64:
    width = max(1, _BLOCK // len(weights))
    starts = range(0, weights.shape[1], width)
    return np.concatenate([statistic(weights[:, a : a + width].astype(np.float64)) for a in starts])


def _stack_terms(terms: Sequence[TermLike]) -> scipy.sparse.csc_array:
    """Return the matrix ``(total groups, n)`` whose product with weights gives all terms' sums."""
    n = len(terms[0].values)
    rows, start = [], 0
    for term in terms:
        rows.append(np.full(n, start) if term.groups is None else term.groups + start)
        start += term.n_groups
    values = np.concatenate([term.values for term in terms])
    columns = np.tile(np.arange(n), len(terms))
    return scipy.sparse.csc_array((values, (np.concatenate(rows), columns)), shape=(start, n))
