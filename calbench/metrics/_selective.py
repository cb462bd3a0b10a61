"""Selective prediction: what confidence is worth for deciding which answers to keep.

Items of equal confidence are kept or dropped together: what depends on an order among them takes its
average over all orders, so that the order of the rows changes nothing.
"""

from __future__ import annotations

import numpy as np
import scipy

from calbench.errors import InputError
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._registration import CONFIDENCE, formula
from calbench.metrics._weighted import Finish, SumStatistic, Term, ratio, tie_groups
from calbench.records import Float64

_DEFINITION = {"confidence": CONFIDENCE, "ties": "averaged over orders"}


def _by_confidence(items: Outcomes, finish: Finish) -> SumStatistic:
    """Sum weights and errors per distinct confidence, the most confident first."""
    ranks, n_groups = tie_groups(items.confidences)
    groups = n_groups - 1 - ranks
    wrong = (~items.correct).astype(np.float64)
    return SumStatistic((Term(np.ones(len(items)), groups, n_groups), Term(wrong, groups, n_groups)), finish)


def _before(reached: Float64, own: Float64) -> Float64:
    return np.maximum(reached - own, 0.0)


@formula("aurc", range=(0, 1), definition=_DEFINITION)
def area_under_risk_coverage(outcomes: Outcomes) -> SumStatistic:
    r"""Error rate among the most confident answers, averaged over how many are kept.

    Range [0, 1]; lower is better. With items by falling confidence,
    :math:`\frac1n \sum_{k=1}^n \frac1k \sum_{j \le k} [\hat y_j \ne y_j]`. Parameters are those of
    :func:`accuracy`.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    Geifman, Uziel & El-Yaniv, ICLR 2019, eq. 3 (arXiv:1805.08206).

    Examples
    --------
    >>> round(area_under_risk_coverage([[0.9, 0.1], [0.7, 0.3]], [0, 1]), 12)  # (0/1 + 1/2) / 2
    0.25
    """

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        weights, wrong = (s * (len(outcomes) / totals) for s in sums)
        weights_before = _before(np.cumsum(weights, axis=0), weights)
        wrong_before = _before(np.cumsum(wrong, axis=0), wrong)
        risk = np.divide(wrong, weights, out=np.zeros_like(wrong), where=weights > 0)
        # sum over j = 1..w of (L + j r) / (W + j), for w tied items after L errors among W
        first, last = weights_before + 1, weights_before + weights + 1
        harmonic = scipy.special.digamma(last) - scipy.special.digamma(first)
        areas = weights * risk + (wrong_before - weights_before * risk) * harmonic
        return np.asarray(areas.sum(axis=0) / len(outcomes))

    return _by_confidence(outcomes, finish)


@formula("augrc", range=(0, 0.5), definition=_DEFINITION)
def area_under_generalized_risk_coverage(outcomes: Outcomes) -> SumStatistic:
    r"""Chance that an answer is kept and wrong, averaged over how many are kept.

    Range [0, 0.5]; lower is better. With accuracy :math:`a` and :math:`A` the
    :func:`confidence_auroc`, it is :math:`(1 - A) a (1 - a) + \frac12 (1 - a)^2`. Parameters are those
    of :func:`accuracy`.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    Traub et al., "Overcoming common flaws in the evaluation of selective classification systems",
    NeurIPS 2024, eq. 7 (arXiv:2407.01032).

    Examples
    --------
    >>> area_under_generalized_risk_coverage([[0.9, 0.1], [0.7, 0.3]], [0, 1])
    0.125
    """

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        weights, wrong = sums
        areas = weights * (_before(np.cumsum(wrong, axis=0), wrong) + wrong / 2)
        return np.asarray(areas.sum(axis=0) / totals**2)

    return _by_confidence(outcomes, finish)


@formula(
    "auroc_confidence",
    direction="higher",
    range=(0, 1),
    definition=_DEFINITION,
)
def confidence_auroc(outcomes: Outcomes) -> SumStatistic:
    """Chance that a right answer is more confident than a wrong one; a tie counts one half.

    Range [0, 1]; higher is better. Parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        All answers are right, or all are wrong, or an input cannot be used.

    Examples
    --------
    >>> confidence_auroc([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3]], [0, 1, 0])
    0.75
    """

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:  # noqa: ARG001
        weights, wrong = sums
        right = np.maximum(weights - wrong, 0.0)
        right_before = _before(np.cumsum(right, axis=0), right)
        pairs = (wrong * (right_before + right / 2)).sum(axis=0)
        return ratio(pairs, wrong.sum(axis=0) * right.sum(axis=0))

    return _by_confidence(outcomes, finish)


@formula(
    "selective_risk",
    range=(0, 1),
    definition={"confidence": CONFIDENCE, "of": "items at or above the threshold"},
)
def selective_risk(outcomes: Outcomes, *, threshold: float = 0.9) -> SumStatistic:
    """Error rate among the answers that a confidence threshold keeps.

    Range [0, 1]; lower is better. An answer is kept whose confidence is at least ``threshold``. A ceiling on
    it is judged by the binomial distribution of the answers that are kept, so that no error among a few is no
    proof of none. Other parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        No item reaches the threshold, or an input cannot be used.

    References
    ----------
    Geifman & El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017, eq. 2.

    Examples
    --------
    >>> selective_risk([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4]], [0, 1, 1], threshold=0.9)
    0.5
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold={threshold}; use a confidence between 0 and 1, such as 0.9")
    kept = outcomes.confidences >= threshold
    terms = Term((kept & ~outcomes.correct).astype(np.float64)), Term(kept.astype(np.float64))
    return SumStatistic(terms, lambda totals, sums: ratio(sums[0][0], sums[1][0]))  # noqa: ARG005


@formula(
    "coverage_at_risk",
    direction="higher",
    range=(0, 1),
    definition={"confidence": CONFIDENCE, "ties": "kept together"},
)
def coverage_at_risk(outcomes: Outcomes, *, risk: float = 0.05) -> SumStatistic:
    """Largest share of answers that a confidence threshold can keep with an error rate within ``risk``.

    Range [0, 1]; higher is better; 0 if no threshold does. Other parameters are those of
    :func:`accuracy`.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    Examples
    --------
    >>> coverage_at_risk([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], [0, 0, 0, 1], risk=0.1)
    0.75
    """
    if not 0 <= risk <= 1:
        raise InputError(f"risk={risk}; use an error rate in [0, 1]")

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        reached, errors = (np.cumsum(s, axis=0) for s in sums)
        # An absolute slack far below one item, so that 1 error in 20 is a risk of 0.05.
        within = errors <= risk * reached + 1e-9 * totals
        return np.asarray((np.where(within, reached, 0.0) / totals).max(axis=0))

    return _by_confidence(outcomes, finish)
