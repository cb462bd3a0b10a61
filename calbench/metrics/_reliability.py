"""Bins as a state: additive over shards and streams, and the points of a reliability diagram."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.metrics._binning import CHUNK, Norm, check_n_bins, uniform_bins
from calbench.metrics._outcomes import Outcomes, check_sample_weight
from calbench.metrics._weighted import ratio
from calbench.records import Float64


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Sums over equal-width bins of confidence: all that a binned calibration error needs.

    Add the states of shards to get the state of the whole; memory is O(bins), whatever the number
    of items. Bins are right-closed and the first also contains 0, as for ``ece``.

    Attributes
    ----------
    weights, confidence_sums, correct_sums : (n_bins,) float64
        Total weight, weighted confidence and weighted correctness of each bin.
    n_items
        Number of items read.

    Examples
    --------
    >>> morning = ReliabilityBins.of([0.9, 0.7], [True, False])
    >>> evening = ReliabilityBins.of([0.9], [False])
    >>> day = morning + evening
    >>> day.n_items, round(day.expected_calibration_error(), 6)
    (3, 0.5)
    """

    weights: Float64
    confidence_sums: Float64
    correct_sums: Float64
    n_items: int

    @classmethod
    def empty(cls, n_bins: int = 15) -> ReliabilityBins:
        """Return the state of no items, to add to."""
        zeros = np.zeros(check_n_bins(n_bins))
        return cls(zeros, zeros, zeros, 0)

    @classmethod
    def of(
        cls,
        confidences: npt.ArrayLike,
        correct: npt.ArrayLike,
        *,
        n_bins: int = 15,
        sample_weight: npt.ArrayLike | None = None,
    ) -> ReliabilityBins:
        """Read top-1 ``confidences (n,)`` and whether they were ``correct (n,)``."""
        check_n_bins(n_bins)
        items = Outcomes.from_top_label(confidences, correct)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, len(items))
        sums = np.zeros((3, n_bins))
        for start in range(0, len(items), CHUNK):
            part = slice(start, start + CHUNK)
            values, right = items.confidences[part], items.correct[part].astype(np.float64)
            bins = uniform_bins(values, n_bins)
            if weight is None:
                sums[0] += np.bincount(bins, minlength=n_bins)
            else:
                sums[0] += np.bincount(bins, weight[part], minlength=n_bins)
                values, right = values * weight[part], right * weight[part]
            sums[1] += np.bincount(bins, values, minlength=n_bins)
            sums[2] += np.bincount(bins, right, minlength=n_bins)
        return cls(sums[0], sums[1], sums[2], len(items))

    @classmethod
    def of_stream(
        cls, parts: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]], *, n_bins: int = 15
    ) -> ReliabilityBins:
        """Read ``(confidences, correct)`` parts one after the other, keeping none."""
        state = cls.empty(n_bins)
        for confidences, correct in parts:
            state += cls.of(confidences, correct, n_bins=n_bins)
        return state

    def __add__(self, other: ReliabilityBins) -> ReliabilityBins:
        if self.n_bins != other.n_bins:
            raise InputError(f"states of {self.n_bins} and {other.n_bins} bins cannot be added")
        return ReliabilityBins(
            self.weights + other.weights,
            self.confidence_sums + other.confidence_sums,
            self.correct_sums + other.correct_sums,
            self.n_items + other.n_items,
        )

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return len(self.weights)

    @property
    def edges(self) -> Float64:
        """Bin edges, ``(n_bins + 1,)``."""
        return np.arange(self.n_bins + 1) / self.n_bins

    @property
    def mean_confidences(self) -> Float64:
        """Mean confidence per bin, ``(n_bins,)``; NaN where a bin is empty."""
        return self._mean(self.confidence_sums)

    @property
    def accuracies(self) -> Float64:
        """Accuracy per bin, ``(n_bins,)``; NaN where a bin is empty."""
        return self._mean(self.correct_sums)

    @property
    def accuracy(self) -> float:
        """Share of right answers, over all bins."""
        return float(self.correct_sums.sum() / self._total())

    @property
    def overconfidence_gap(self) -> float:
        """Mean confidence minus accuracy, over all bins."""
        return float((self.confidence_sums - self.correct_sums).sum() / self._total())

    def expected_calibration_error(self, *, norm: str = "l1", min_count: int = 1) -> float:
        """Return what :func:`calbench.metrics.expected_calibration_error` would for all the items."""
        gaps = (self.confidence_sums - self.correct_sums)[:, None]
        totals = np.array([self._total()])
        return float(Norm(norm, min_count, self.n_items)(gaps, self.weights[:, None], totals)[0])

    def _mean(self, sums: Float64) -> Float64:
        return ratio(sums, self.weights)

    def _total(self) -> float:
        total = float(self.weights.sum())
        if total == 0:
            raise InputError("no items have been read; there is nothing to measure")
        return total
