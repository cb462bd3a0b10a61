"""Calibration errors that are sums of absolute values: what their exact bias depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calbench.metrics._outcomes import Outcomes
from calbench.records import Float64


@dataclass(frozen=True, eq=False)
class AbsoluteSums:
    r"""A metric of the form :math:`\sum_g |\frac1n \sum_i v_{ig}|`, such as ``ece``.

    Noise in a group whose true sum is near 0 cannot cancel, which biases the metric upwards; to bound
    that, the gate needs the groups themselves and not only the sum.

    Attributes
    ----------
    groups : (n, c) int
        Groups that each item adds to.
    values : (n, c) float64
        What it adds there.
    variances : (n, c) float64
        Variance of each value if the probabilities were right.
    coarse : (n_groups,) int
        The larger group that each group is part of.
    """

    groups: npt.NDArray[np.intp]
    values: Float64
    variances: Float64
    coarse: npt.NDArray[np.intp]

    @classmethod
    def of_confidence(cls, items: Outcomes, groups: npt.NDArray[np.intp], n_groups: int) -> AbsoluteSums:
        """Return the sums of confidence minus correctness in groups ``(n,)``."""
        c = items.confidences
        one = np.zeros(n_groups, dtype=np.intp)
        return cls(groups[:, None], items.gaps[:, None], (c * (1 - c))[:, None], one)

    def on(self, other: AbsoluteSums) -> AbsoluteSums:
        """Return this model's values of the same items in another model's groups.

        Raises
        ------
        ValueError
            An item adds to more than one group.
        """
        if self.groups.shape != other.groups.shape or self.groups.shape[1] != 1:
            raise ValueError("only sums with one group an item can be moved to another's groups")
        return AbsoluteSums(other.groups, self.values, self.variances, other.coarse)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.groups)

    def coarsened(self) -> AbsoluteSums:
        """Return the sums over the larger groups: never more than the original."""
        identity = np.arange(int(self.coarse.max()) + 1)
        return AbsoluteSums(self.coarse[self.groups], self.values, self.variances, identity)

    def sums(self) -> Float64:
        """Return the sum of each group, ``(n_groups,)``."""
        return self._add(self.values)

    def deviations(self) -> tuple[Float64, float]:
        """Return each sum's standard deviation ``(n_groups,)``, and how much the model added.

        A group's variance is the larger of the empirical one and what the probabilities promise: a
        handful of sure and right answers has no spread, and says nothing yet. The second value is
        the total by which the promised variances exceed the empirical ones.
        """
        empirical = np.maximum(self._add(self.values**2) - self.sums() ** 2 / self.n_items, 0.0)
        variance = np.maximum(empirical, self._add(self.variances))
        return np.sqrt(variance), float((variance - empirical).sum())

    def counts(self) -> npt.NDArray[np.intp]:
        """Return how many values each group adds up, ``(n_groups,)``."""
        return np.bincount(self.groups.ravel(), minlength=len(self.coarse))

    def signed(self, signs: Float64) -> Float64:
        """Return each item's part of the sums with these signs ``(n_groups,)``, ``(n,)``."""
        return np.asarray((signs[self.groups] * self.values).sum(axis=1))

    def _add(self, values: Float64) -> Float64:
        weights = values.ravel()
        total = np.bincount(self.groups.ravel(), weights=weights, minlength=len(self.coarse))
        return total.astype(np.float64, copy=False)
