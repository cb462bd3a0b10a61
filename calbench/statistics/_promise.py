r"""Promises about the answers above a confidence threshold: at most a share :math:`r` of them is wrong.

Of the :math:`n_t` answers at or above a threshold fixed beforehand the errors are binomial, so a promise has
the exact p-value :math:`P(B(n_t, r) \le k_t)`. Which of many thresholds keeps the promise is found by testing
them in an order that is fixed before the data are seen: from the highest down until one fails. A chain of
such tests errs with the error that it starts with (fixed-sequence testing). As the highest thresholds keep
too few answers to show anything, chains start at several places and share the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.records import check_confidences, check_correct

THRESHOLDS = tuple(round(0.99 - 0.01 * i, 2) for i in range(50))  # .99 to .50
STARTS = (0.99, 0.95, 0.9, 0.8, 0.7)


@dataclass(frozen=True)
class Promise:
    """A threshold, and what is known of the answers that it keeps.

    Attributes
    ----------
    threshold
        Answers at or above it are kept.
    n_kept, n_wrong, n
        Answers that are kept, those of them that are wrong, and all.
    p_value
        Of a larger error rate than promised.
    """

    threshold: float
    n_kept: int
    n_wrong: int
    n: int
    p_value: float

    @property
    def coverage(self) -> float:
        """Share of answers that are kept."""
        return self.n_kept / self.n

    @property
    def risk(self) -> float:
        """Error rate among those; NaN where there are none."""
        return self.n_wrong / self.n_kept if self.n_kept else float("nan")

    def upper(self, error: float) -> float:
        """Return the upper bound of the error rate that is too low with a chance of ``error``."""
        return binomial_interval(self.n_wrong, self.n_kept, 1 - 2 * error)[1]


def binomial_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share from ``k`` of ``n``; (0, 1) of none.

    References
    ----------
    Clopper & Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).

    Examples
    --------
    >>> low, high = binomial_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.0362)
    """
    tail = (1 - level) / 2
    low = float(scipy.special.betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(scipy.special.betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def promises(
    confidences: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    at_most: float,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[Promise]:
    """Test each threshold by itself; see :func:`promised`."""
    sure = check_confidences(confidences)
    right = check_correct(correct, len(sure))
    if not 0 < at_most < 1:
        raise InputError(f"at_most={at_most}; use a share of errors between 0 and 1, such as 0.05")
    found = []
    for threshold in thresholds:
        kept = sure >= threshold
        n, k = int(kept.sum()), int((kept & ~right).sum())
        p_value = float(scipy.special.bdtr(k, n, at_most)) if n else 1.0
        found.append(Promise(threshold, n, k, len(sure), p_value))
    return found


def promised(
    confidences: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    at_most: float,
    level: float = 0.95,
    thresholds: Sequence[float] = THRESHOLDS,
    starts: Sequence[float] = STARTS,
) -> Promise | None:
    """Return the lowest threshold that is shown to keep a promise; None if none is.

    With a chance of at least ``level`` the threshold that is returned truly keeps it, or none is returned.

    Parameters
    ----------
    confidences : (n,) float
        Of independent answers.
    correct : (n,) bool
        Whether each is right.
    at_most
        The error rate that is promised among answers at or above the threshold.
    level
        Of confidence.
    thresholds
        From the highest down; chosen before the answers are seen.
    starts
        Those of them at which chains of tests start, each with an equal part of the error.

    References
    ----------
    Angelopoulos et al., "Learn then Test", 2021, section 2 (arXiv:2110.01052): fixed-sequence testing with
    several starts.

    Raises
    ------
    InputError
        The promise or the thresholds make no sense.

    Examples
    --------
    >>> sure, right = [0.99] * 200 + [0.705] * 200, [True] * 200 + [True, False] * 100
    >>> promised(sure, right, at_most=0.05).threshold
    0.71
    """
    if list(thresholds) != sorted(thresholds, reverse=True) or not set(starts) <= set(thresholds):
        raise InputError("thresholds must fall, and chains start at some of them")
    each = (1 - level) / len(starts)
    tested = promises(confidences, correct, at_most=at_most, thresholds=thresholds)
    kept = None
    for start in starts:
        for promise in tested[list(thresholds).index(start) :]:
            if promise.p_value > each:
                break
            if kept is None or promise.threshold < kept.threshold:
                kept = promise
    return kept
