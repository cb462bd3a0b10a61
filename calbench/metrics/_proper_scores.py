"""Proper scores, and accuracy: means of a per-item loss."""

from __future__ import annotations

import numpy as np

from calbench.metrics._outcomes import Outcomes
from calbench.metrics._registration import formula
from calbench.metrics._weighted import SumStatistic, mean_of

SMALLEST_PROBABILITY = float(np.finfo(np.float64).tiny)


@formula("accuracy", direction="higher", range=(0, 1), rate=True)
def accuracy(outcomes: Outcomes) -> SumStatistic:
    r"""Share of items whose predicted class is the label.

    Range [0, 1]; higher is better. The first of tied classes is the prediction.

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples,) int
        0-based.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    Examples
    --------
    >>> accuracy([[0.9, 0.1], [0.6, 0.4]], [0, 1])
    0.5
    """
    return mean_of(outcomes.correct)


@formula(
    "nll",
    needs="probs",
    range=(0, float(-np.log(SMALLEST_PROBABILITY))),
    definition={"logarithm": "natural", "smallest_probability": "2**-1022"},
)
def negative_log_likelihood(outcomes: Outcomes) -> SumStatistic:
    r"""Mean negative logarithm of the probability given to the right class, in nats.

    Range [0, 708.4]; lower is better; proper. :math:`\frac1n \sum_i -\ln p_{i, y_i}`. A
    probability of 0 counts as :math:`2^{-1022}`, so that a record with one such item still has a
    finite score and interval (scikit-learn's ``log_loss`` stops at :math:`2^{-52}`, 36 nats, which
    confident language models do reach).

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples,) int
        0-based.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    I. J. Good, "Rational decisions", JRSS B 14 (1952).

    Examples
    --------
    >>> round(negative_log_likelihood([[0.9, 0.1], [0.6, 0.4]], [0, 1]), 6)
    0.510826
    """
    right = outcomes.probs[np.arange(len(outcomes)), outcomes.labels]
    return mean_of(-np.log(np.clip(right, SMALLEST_PROBABILITY, 1.0)))


@formula("brier", needs="probs", range=(0, 2), definition={"over_classes": "sum"})
def brier_score(outcomes: Outcomes) -> SumStatistic:
    r"""Mean squared distance between the class vector and the one-hot label.

    Range [0, 2]; lower is better; proper. :math:`\frac1n \sum_i \sum_k (p_{ik} - [y_i = k])^2`:
    summed over classes, so that for two classes it is twice the binary score.

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples,) int
        0-based.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    G. W. Brier, "Verification of forecasts expressed in terms of probability" (1950), eq. 2.

    Examples
    --------
    >>> round(brier_score([[0.9, 0.1], [0.6, 0.4]], [0, 1]), 12)
    0.37
    """
    right = outcomes.probs[np.arange(len(outcomes)), outcomes.labels]
    # Σ(p - y)² = Σp² - 2p_y + 1 would cancel when the answer is right and sure.
    others = np.einsum("ij,ij->i", outcomes.probs, outcomes.probs) - right**2
    return mean_of(np.maximum(others, 0.0) + (1.0 - right) ** 2)


@formula(
    "brier_toplabel",
    range=(0, 1),
)
def top_label_brier_score(outcomes: Outcomes) -> SumStatistic:
    r"""Mean squared distance between top-1 confidence and correctness.

    Range [0, 1]; lower is better; proper for the event "the predicted class is right".
    :math:`\frac1n \sum_i (c_i - [\hat y_i = y_i])^2`.

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples,) int
        0-based.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    Examples
    --------
    >>> round(top_label_brier_score([[0.9, 0.1], [0.6, 0.4]], [0, 1]), 12)
    0.185
    """
    return mean_of(outcomes.gaps**2)
