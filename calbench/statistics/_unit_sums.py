"""A metric's absolute sums by sampled unit: each group's sum, and how its error goes with those of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from calbench.metrics import AbsoluteSums
from calbench.records import Float64
from calbench.statistics._design import Codes, Design


@dataclass(frozen=True, eq=False)
class UnitSums:
    """What each item adds to each group, and what the sampled units make of it.

    Attributes
    ----------
    design
        How the items were drawn.
    groups, values : (n, c)
        Groups that each item adds to, and what it adds there, weighted.
    promised : (n_groups,)
        Variance of each group's sum if the probabilities were right and items independent.
    counts : (n_groups,)
        Values that each group adds up.
    coarse : (n_groups,)
        The larger group that each is part of.
    """

    design: Design
    groups: Codes
    values: Float64
    promised: Float64
    counts: Codes
    coarse: Codes

    @classmethod
    def of(cls, sums: AbsoluteSums, design: Design) -> UnitSums:
        """Weight a metric's values, and count them."""
        values, variances = sums.values, sums.variances
        if design.weights is not None:
            values = values * design.weights[:, None]
            variances = variances * design.weights[:, None] ** 2
        n_groups = len(sums.coarse)
        promised = _add(sums.groups, variances, n_groups)
        counts = np.bincount(sums.groups.ravel(), minlength=n_groups)
        return cls(design, sums.groups, values, promised, counts, sums.coarse)

    def coarsened(self) -> UnitSums:
        """Return the sums over the larger groups: never more, in absolute value, than the original."""
        n_coarse = int(self.coarse.max()) + 1
        return UnitSums(
            self.design,
            self.coarse[self.groups],
            self.values,
            _add(self.coarse, self.promised, n_coarse),
            np.bincount(self.coarse, weights=self.counts, minlength=n_coarse).astype(np.intp),
            np.arange(n_coarse),
        )

    @cached_property
    def totals(self) -> Float64:
        """Sum of each group, ``(n_groups,)``."""
        return _add(self.groups, self.values, len(self.coarse))

    @cached_property
    def matrix(self) -> scipy.sparse.csr_array:
        """Sum of each unit in each group, ``(n_units, n_groups)``."""
        rows = np.broadcast_to(self.design.units[:, None], self.groups.shape).ravel()
        shape = (self.design.n_units, len(self.coarse))
        return scipy.sparse.coo_array((self.values.ravel(), (rows, self.groups.ravel())), shape=shape).tocsr()

    def parts(self, weights: Float64) -> Float64:
        """Return each unit's part of the sums with a weight a group, ``(n_units,)``."""
        found = weights[self.groups[:, 0]] * self.values[:, 0]
        if self.groups.shape[1] > 1:
            found = (weights[self.groups] * self.values).sum(axis=1)
        design = self.design
        return found if design.clusters is None else _add(design.units, found, design.n_units)

    @cached_property
    def deviations(self) -> Float64:
        """Standard deviation of each group's sum, ``(n_groups,)``.

        The larger of the empirical one and what the probabilities promise: a handful of sure and right
        answers has no spread, and says nothing yet.
        """
        return np.asarray(np.sqrt(np.maximum(self.empirical, self.promised)))

    @cached_property
    def added(self) -> float:
        """By how much the promised variances exceed the empirical ones, in all."""
        return float(np.maximum(self.promised - self.empirical, 0.0).sum())

    @cached_property
    def empirical(self) -> Float64:
        """Variance of each group's sum as the items show it, ``(n_groups,)``."""
        return np.maximum(self.covariances(self), 0.0)

    def same_as(self, other: UnitSums) -> bool:
        """Whether every item adds the same to the same groups."""
        return np.array_equal(self.groups, other.groups) and np.array_equal(self.values, other.values)

    def covariances(self, other: UnitSums) -> Float64:
        """Covariance of each group's sum with the same group's of another model, ``(n_groups,)``."""
        design = self.design
        if design.plain:
            same = self.groups == other.groups
            together = _add(self.groups[same], self.values[same] * other.values[same], len(self.coarse))
            return together - self.totals * other.totals / design.n_items
        n = design.sizes.sum()
        f, sizes = design.factors, design.sizes
        r, q = self.totals / n, other.totals / n
        weighted = self.matrix.multiply(f[:, None]).tocsr()
        together = np.asarray(weighted.multiply(other.matrix).sum(axis=0)).ravel()
        total = (
            together
            - q * (weighted.T @ sizes)
            - r * (other.matrix.T @ (f * sizes))
            + r * q * float(f @ sizes**2)
        )
        if design.strata is None:
            return np.asarray(total)
        strata = design.unit_strata
        counts = np.bincount(strata)
        member = scipy.sparse.csr_array((np.ones(len(strata)), (strata, np.arange(len(strata)))))
        stratum_sizes = np.bincount(strata, weights=sizes)[:, None]
        ours = (member @ self.matrix).toarray() - stratum_sizes * r
        theirs = (member @ other.matrix).toarray() - stratum_sizes * q
        return np.asarray(total - (ours * theirs / np.maximum(counts - 1, 1)[:, None]).sum(axis=0))


def combined_variance(terms: Sequence[tuple[Float64, UnitSums]]) -> float:
    """Variance of a sum of models' sums, each group with its weight."""
    first, *others = [sums.parts(weights) for weights, sums in terms]
    for part in others:
        first = first + part
    return terms[0][1].design.variance(first)


def _add(groups: Codes, values: Float64, n_groups: int) -> Float64:
    total = np.bincount(groups.ravel(), weights=values.ravel(), minlength=n_groups)
    return total.astype(np.float64, copy=False)
