"""Calibration errors of the top label, over bins of confidence."""

from __future__ import annotations

from typing import Literal

import numpy as np

from calbench.metrics._absolute_sums import AbsoluteSums
from calbench.metrics._binning import (
    EDGES,
    Norm,
    at_least,
    binned_statistic,
    confidence_bins,
    effective_counts,
    norm_statistic,
)
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._registration import CONFIDENCE, formula
from calbench.metrics._weighted import Statistic, SumStatistic, Term, tie_groups
from calbench.records import Float64

Strategy = Literal["uniform", "quantile"]
_ROUNDING = 16 * float(np.finfo(np.float64).eps)  # of a sum of a few squares below 1


def _ece_sums(
    items: Outcomes,
    *,
    n_bins: int = 15,
    strategy: str = "uniform",
    norm: str = "l1",
    min_count: int = 1,  # noqa: ARG001 (the metric's options, all of them)
) -> AbsoluteSums | None:
    if norm != "l1":
        return None
    bins = confidence_bins(items.confidences, n_bins, strategy)
    return AbsoluteSums.of_confidence(items, bins, n_bins)


def _shared_sums(items: Outcomes, *, n_bins: int = 5) -> AbsoluteSums | None:
    return _ece_sums(items, n_bins=n_bins)


@formula(
    "ece",
    range=(0, 1),
    definition={"edges": EDGES, "confidence": CONFIDENCE},
    biased=True,
    absolute_sums=_ece_sums,
)
def expected_calibration_error(
    outcomes: Outcomes,
    *,
    n_bins: int = 15,
    strategy: Strategy = "uniform",
    norm: Literal["l1", "l2", "max"] = "l1",
    min_count: int = 1,
) -> Statistic:
    r"""Mean gap between top-label confidence and accuracy, over bins of confidence.

    Range [0, 1]; lower is better. With :math:`\bar c_b`, :math:`a_b` and :math:`w_b` the mean
    confidence, accuracy and share of weight of bin :math:`b`, it is
    :math:`\sum_b w_b |\bar c_b - a_b|` (``"l1"``), :math:`(\sum_b w_b (\bar c_b - a_b)^2)^{1/2}`
    (``"l2"``, RMSCE) or :math:`\max_b |\bar c_b - a_b|` (``"max"``, MCE).

    Bins are right-closed; the first also contains 0. The estimate is biased upwards: a perfectly
    calibrated model shows about 0.08 at 200 items (see ``calbench.compare``).

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples,) int
        0-based.
    n_bins
        Number of bins.
    strategy
        ``"uniform"``: bins of equal width; ``"quantile"``: of equal mass, by a stable sort.
    norm
        ``"l1"``, ``"l2"`` or ``"max"``.
    min_count
        With ``norm="max"``, bins with fewer items are left out.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    References
    ----------
    Naeini, Cooper & Hauskrecht, AAAI 2015; Guo et al., ICML 2017, eq. 3-5 (arXiv:1706.04599);
    equal mass: Nixon et al., 2019 (arXiv:1904.01685).

    Examples
    --------
    >>> probs = [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]]
    >>> round(expected_calibration_error(probs, [0, 0, 1, 0]), 12)
    0.15
    >>> round(expected_calibration_error(probs, [0, 0, 1, 0], norm="max"), 12)
    0.2
    """
    return norm_statistic(outcomes, n_bins, strategy, Norm(norm, min_count, len(outcomes)))


@formula(
    "ece_shared_bins",
    range=(0, 1),
    definition={
        "norm": "l1",
        "edges": EDGES,
        "confidence": CONFIDENCE,
        "reference": "in the candidate's bins",
    },
    biased=True,
    absolute_sums=_shared_sums,
    shared_groups=True,
)
def shared_bins_calibration_error(outcomes: Outcomes, *, n_bins: int = 5) -> Statistic:
    r"""Mean gap between confidence and accuracy over bins that both models of a comparison share.

    Range [0, 1]; lower is better. Of one model it is ``ece[n_bins=5]``. In a difference the gaps of the
    reference are summed in the bins of the *candidate's* confidences, so that an item that crosses an edge
    does not carry its whole gap along: what is left is what answers and confidences themselves changed by.
    That is no difference of two ECEs, and a reference has another value beside each candidate.

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples,) int
        0-based.
    n_bins
        Number of bins of equal width. Gaps of opposite sign within a bin cancel.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    Examples
    --------
    >>> round(shared_bins_calibration_error([[0.9, 0.1], [0.3, 0.7]], [0, 0]), 12)
    0.4
    """
    return norm_statistic(outcomes, n_bins, "uniform", Norm("l1", 1, len(outcomes)))


@formula(
    "ece_debiased",
    range=(0, 1),
    definition={"norm": "l2", "edges": EDGES, "confidence": CONFIDENCE},
    biased=True,
)
def debiased_calibration_error(
    outcomes: Outcomes, *, n_bins: int = 15, strategy: Strategy = "uniform"
) -> Statistic:
    r"""Root mean square gap between confidence and accuracy, less what noise alone would show.

    Range [0, 1]; lower is better. With :math:`n_b` items in bin :math:`b`,
    :math:`\big(\sum_b w_b [(\bar c_b - a_b)^2 - a_b (1 - a_b) / (n_b - 1)]\big)_+^{1/2}`. Bins with
    fewer than two items count as having no gap. Parameters are those of
    :func:`expected_calibration_error`.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    References
    ----------
    Kumar, Liang & Ma, "Verified uncertainty calibration", NeurIPS 2019, def. 5.1 (arXiv:1909.10155).

    Examples
    --------
    >>> probs = [[0.9, 0.1]] * 4
    >>> round(debiased_calibration_error(probs, [0, 1, 1, 1]), 6)  # 0.65² - 0.25 * 0.75 / 3
    0.6
    """

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        gaps, weights, rights = sums
        counts = effective_counts(weights, totals, len(outcomes))
        kept = at_least(2, counts)
        safe = np.where(kept, weights, 1.0)
        accuracies = rights / safe
        noise = accuracies * (1 - accuracies) / np.where(kept, counts - 1, 1.0)
        squares = np.where(kept, weights * ((gaps / safe) ** 2 - noise), 0.0).sum(axis=0) / totals
        # Terms that cancel leave a rounding error, of which the root would be a number like 1e-8.
        return np.asarray(np.sqrt(np.where(squares > _ROUNDING, squares, 0.0)))

    columns = (outcomes.gaps, np.ones(len(outcomes)), outcomes.correct.astype(np.float64))
    return binned_statistic(outcomes, columns, n_bins, strategy, finish)


@formula(
    "ks",
    range=(0, 1),
    definition={"confidence": CONFIDENCE, "ties": "enter together"},
    biased=True,
)
def ks_calibration_error(outcomes: Outcomes) -> SumStatistic:
    r"""Largest difference between cumulative confidence and cumulative accuracy; needs no bins.

    Range [0, 1]; lower is better. :math:`\max_t |\frac1n \sum_{i: c_i \le t} (c_i - [\hat y_i = y_i])|`.
    Items of equal confidence enter together, so that their order changes nothing. Parameters are
    those of :func:`accuracy`.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    Gupta et al., "Calibration of neural networks using splines", ICLR 2021, eq. 6 (arXiv:2006.12800).

    Examples
    --------
    >>> round(ks_calibration_error([[0.6, 0.4], [0.9, 0.1]], [1, 0]), 12)
    0.3
    """
    groups, n_groups = tie_groups(outcomes.confidences)

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        return np.asarray(np.abs(np.cumsum(sums[0], axis=0)).max(axis=0) / totals)

    return SumStatistic((Term(outcomes.gaps, groups, n_groups),), finish)
