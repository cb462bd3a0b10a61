"""Metrics that compare probabilities with how many people gave each class: no label is drawn from them.

A label says whether an answer was right; a distribution says how right it was to be so sure. What is
noise in the one is known in the other, so the same items decide more.
"""

from __future__ import annotations

import numpy as np

from calbench.metrics._absolute_sums import AbsoluteSums
from calbench.metrics._binning import EDGES, binned_statistic, confidence_bins
from calbench.metrics._calibration_error import Strategy
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._proper_scores import SMALLEST_PROBABILITY
from calbench.metrics._registration import CONFIDENCE, formula
from calbench.metrics._weighted import Statistic, SumStatistic, mean_of
from calbench.records import Float64


def _soft_sums(outcomes: Outcomes, *, n_bins: int = 15, strategy: str = "uniform") -> AbsoluteSums:
    # A vote's promised variance c(1 - c) is not that of a share of many votes, which is less.
    gaps = outcomes.soft_gaps
    c = outcomes.confidences
    promised = np.minimum(c * (1 - c), np.mean(gaps**2))
    bins = confidence_bins(c, n_bins, strategy)
    return AbsoluteSums(bins[:, None], gaps[:, None], promised[:, None], np.zeros(n_bins, dtype=np.intp))


@formula(
    "soft_ece",
    needs="distribution",
    range=(0, 1),
    definition={"edges": EDGES, "confidence": CONFIDENCE},
    biased=True,
    absolute_sums=_soft_sums,
)
def soft_calibration_error(
    outcomes: Outcomes, *, n_bins: int = 15, strategy: Strategy = "uniform"
) -> Statistic:
    r"""Mean gap between top-label confidence and the share of people who gave that label, over bins.

    Range [0, 1]; lower is better: :func:`expected_calibration_error` of the probability itself, with
    :math:`q_{i,\hat y_i}` in place of right or wrong. With labels ``(n,)`` it is that very function.

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples, n_classes) float
        Shares of the classes; rows sum to one. Or labels ``(n_samples,)``.
    n_bins, strategy
        As in :func:`expected_calibration_error`.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    References
    ----------
    Baan et al., "Stop measuring calibration when humans disagree", EMNLP 2022 (arXiv:2210.16133).

    Examples
    --------
    >>> round(soft_calibration_error([[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.7, 0.3]]), 12)
    0.1
    """

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        return np.asarray(np.abs(sums[0]).sum(axis=0) / totals)

    return binned_statistic(outcomes, (outcomes.soft_gaps,), n_bins, strategy, finish)


@formula(
    "cross_entropy",
    needs="distribution",
    range=(0, float(-np.log(SMALLEST_PROBABILITY))),
    definition={"logarithm": "natural", "smallest_probability": "2**-1022"},
)
def cross_entropy(outcomes: Outcomes) -> SumStatistic:
    r"""Mean surprise at the label of a person drawn at random, in nats, none being drawn.

    Range [0, 708.4]; lower is better; proper. :math:`-\frac1n \sum_i \sum_k q_{ik} \ln p_{ik}`: the
    expected :func:`negative_log_likelihood`, and that itself with labels ``(n,)``. Its least value is the
    entropy of the people, not 0. Parameters are those of :func:`soft_calibration_error`.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    Peterson et al., "Human uncertainty makes classification more robust", ICCV 2019 (arXiv:1908.07086).

    Examples
    --------
    >>> round(cross_entropy([[0.9, 0.1], [0.6, 0.4]], [[1.0, 0.0], [0.5, 0.5]]), 6)
    0.409459
    """
    surprise = -np.log(np.clip(outcomes.probs, SMALLEST_PROBABILITY, 1.0))
    return mean_of(np.einsum("ij,ij->i", outcomes.shares, surprise))


@formula("expected_brier", needs="distribution", range=(0, 2), definition={"over_classes": "sum"})
def expected_brier_score(outcomes: Outcomes) -> SumStatistic:
    r"""Mean squared distance between the class vector and the label of a person drawn at random.

    Range [0, 2]; lower is better; proper.
    :math:`\frac1n \sum_i \left(\sum_k (p_{ik} - q_{ik})^2 + 1 - \sum_k q_{ik}^2\right)`: the expected
    :func:`brier_score`, and that itself with labels ``(n,)``. What people disagree about among themselves
    stays. Parameters are those of :func:`soft_calibration_error`.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    Uma et al., "Learning from disagreement: a survey", JAIR 72 (2021), section 4.

    Examples
    --------
    >>> round(expected_brier_score([[0.9, 0.1], [0.6, 0.4]], [[1.0, 0.0], [0.5, 0.5]]), 12)
    0.27
    """
    shares = outcomes.shares
    distances = ((outcomes.probs - shares) ** 2).sum(axis=1)
    return mean_of(distances + 1.0 - np.einsum("ij,ij->i", shares, shares))
