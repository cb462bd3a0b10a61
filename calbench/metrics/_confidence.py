"""Over- and underconfidence of the top label: signed gap, sure but wrong, and logistic recalibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._registration import CONFIDENCE, formula
from calbench.metrics._weighted import SumStatistic, Term, mean_of, ratio
from calbench.records import Bool, Float64

_MAX_ITERATIONS = 500
_TOLERANCE = 1e-12


@formula(
    "overconfidence_gap",
    direction="none",
    range=(-1, 1),
    definition={"confidence": CONFIDENCE},
)
def overconfidence_gap(outcomes: Outcomes) -> SumStatistic:
    """Mean confidence minus accuracy: positive when the model is too sure of itself.

    Range [-1, 1]; nearest 0 is best; its size never exceeds ``ece``. Parameters are those of
    :func:`accuracy`.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    Examples
    --------
    >>> round(overconfidence_gap([[0.9, 0.1], [0.7, 0.3]], [0, 1]), 12)
    0.3
    """
    return mean_of(outcomes.gaps)


def _sure(items: Outcomes, threshold: float) -> npt.NDArray[np.bool_]:
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold={threshold}; use a probability in [0, 1]")
    return items.confidences >= threshold


@formula(
    "overconfidence_rate",
    range=(0, 1),
    definition={"confidence": CONFIDENCE, "of": "all items"},
    rate=True,
)
def overconfidence_rate(outcomes: Outcomes, *, threshold: float = 0.9) -> SumStatistic:
    r"""Share of all items that are wrong with a confidence of at least the threshold.

    Range [0, 1]; lower is better. Not to be confused with :func:`overconfidence_error_rate`, the
    share of the *confident* items that are wrong, which some authors give this name. Other
    parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    Examples
    --------
    >>> overconfidence_rate([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.6, 0.4]], [0, 1, 1, 0])
    0.25
    """
    return mean_of(_sure(outcomes, threshold) & ~outcomes.correct)


@formula(
    "overconfidence_error_rate",
    range=(0, 1),
    definition={"confidence": CONFIDENCE, "of": "items at or above the threshold"},
)
def overconfidence_error_rate(outcomes: Outcomes, *, threshold: float = 0.9) -> SumStatistic:
    r"""Share of the items with a confidence of at least the threshold that are wrong.

    Range [0, 1]; lower is better. See :func:`overconfidence_rate` for the share of all items. Other
    parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        No item reaches the threshold, or an input cannot be used.

    Examples
    --------
    >>> overconfidence_error_rate([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.6, 0.4]], [0, 1, 1, 0])
    0.5
    """
    sure = _sure(outcomes, threshold)
    terms = Term((sure & ~outcomes.correct).astype(np.float64)), Term(sure.astype(np.float64))
    return SumStatistic(terms, lambda totals, sums: ratio(sums[0][0], sums[1][0]))  # noqa: ARG005


@dataclass(frozen=True, eq=False)
class _Logistic:
    """A coefficient of the weighted logistic regression of correctness on the logit of the confidence.

    Whether it is defined is read off the items that weigh anything, before any arithmetic: the
    likelihood has its one maximum unless all of them are right, or all wrong, or (for the slope) a
    threshold separates them. So neither the weights' sizes nor order nor batch can move it.
    """

    logits: Float64
    correct: Bool
    free_slope: bool

    def __call__(self, weights: Float64) -> Float64:
        """Return ``(r,)`` coefficients; NaN where the likelihood has no single maximum."""
        solution: Float64 = np.full(weights.shape[1], np.nan)
        defined = self._defined(weights > 0)
        if defined.any():
            solution[defined] = self._maximum(weights[:, defined])
        return solution

    def _defined(self, present: Bool) -> Bool:
        right, wrong = present & self.correct[:, None], present & ~self.correct[:, None]
        if not self.free_slope:
            return np.asarray(right.any(axis=0) & wrong.any(axis=0))
        x = self.logits[:, None]
        (low_right, high_right), (low_wrong, high_wrong) = (
            (np.where(of, x, np.inf).min(axis=0), np.where(of, x, -np.inf).max(axis=0))
            for of in (right, wrong)
        )
        return np.asarray((high_wrong > low_right) & (high_right > low_wrong))

    def _maximum(self, weights: Float64) -> Float64:
        """Newton's method with step halving, from the rate of right answers."""
        weights = weights / weights.mean(axis=0)
        middle, unit = 0.0, 1.0
        if self.free_slope:
            middle, unit = float(self.logits.mean()), float(np.ptp(self.logits))
        terms = [np.ones_like(self.logits), (self.logits - middle) / unit][: 1 + self.free_slope]
        regression = _Regression(
            np.column_stack(terms), 0 * self.logits if self.free_slope else self.logits, self.correct
        )
        beta: Float64 = np.zeros((len(terms), weights.shape[1]))
        beta[0] = scipy.special.logit(self.correct @ weights / weights.sum(axis=0)) - regression.offset.mean()
        solution: Float64 = np.empty(weights.shape[1])
        left: npt.NDArray[np.intp] = np.arange(weights.shape[1])
        for _ in range(_MAX_ITERATIONS):
            step, level = regression.newton_step(beta, weights)
            beta = beta + step * regression.step_lengths(beta, step, weights)
            solution[left] = beta[-1]
            more = ~((np.abs(step) < _TOLERANCE * (1 + np.abs(beta))).all(axis=0) | level)
            beta, weights, left = beta[:, more], weights[:, more], np.asarray(left[more])
            if not len(left):
                break
        return solution / unit


@dataclass(frozen=True, eq=False)
class _Regression:
    """Likelihood of ``design (n, p)`` with an offset; ``beta`` is ``(p, r)``, weights ``(n, r)``."""

    design: Float64
    offset: Float64
    correct: Bool

    def _linear(self, beta: Float64) -> Float64:
        return self.offset[:, None] + self.design @ beta

    def likelihood(self, beta: Float64, weights: Float64) -> Float64:
        linear = self._linear(beta)
        signed = np.where(self.correct[:, None], linear, -linear)
        return -np.asarray(np.einsum("ij,ij->j", weights, np.logaddexp(0.0, -signed)))

    def newton_step(self, beta: Float64, weights: Float64) -> tuple[Float64, Bool]:
        """Return the step, and where the gradient is 0 but for rounding."""
        fitted = scipy.special.expit(self._linear(beta))
        slopes = weights * (self.correct[:, None] - fitted)
        gradient = self.design.T @ slopes
        rounding = 8 * np.finfo(np.float64).eps * (np.abs(self.design.T) @ np.abs(slopes))
        curvature = weights * fitted * (1 - fitted)
        products = self.design[:, :, None] * self.design[:, None, :]
        hessian = np.einsum("ipq,ij->jpq", products, curvature)
        # Never singular to rounding; it slows the last steps a little and moves no maximum.
        ridge = 1e-13 * np.einsum("jpp->j", hessian) + np.finfo(np.float64).tiny
        hessian += ridge[:, None, None] * np.eye(hessian.shape[1])
        step = np.linalg.solve(hessian, gradient.T[:, :, None])[:, :, 0].T
        return step, np.asarray((np.abs(gradient) <= rounding).all(axis=0))

    def step_lengths(self, beta: Float64, step: Float64, weights: Float64) -> Float64:
        """Halve a step until the likelihood does not fall."""
        start = self.likelihood(beta, weights)
        lengths: Float64 = np.ones(beta.shape[1])
        for _ in range(60):
            worse = self.likelihood(beta + lengths * step, weights) < start - 1e-9 * np.abs(start)
            if not worse.any():
                break
            lengths = np.where(worse, lengths / 2, lengths)
        return lengths


def _logistic(outcomes: Outcomes, *, free_slope: bool) -> _Logistic:
    # Confidences that differ by rounding only are one, and none is surer than can be told from data:
    # so every likelihood that has a maximum is curved enough there for its place to be computed.
    confidences = np.clip(np.round(outcomes.confidences, 7), 1e-6, 1 - 1e-6)
    return _Logistic(scipy.special.logit(confidences), outcomes.correct, free_slope)


_LOGISTIC = {"confidence": CONFIDENCE, "logit": "of the confidence to 7 decimals, within [1e-6, 1 - 1e-6]"}


@formula(
    "calibration_slope",
    direction="none",
    definition={**_LOGISTIC, "intercept": "fitted"},
)
def calibration_slope(outcomes: Outcomes) -> _Logistic:
    r"""Slope of a logistic regression of correctness on the logit of the confidence.

    1 is perfect; below 1 the confidences are too extreme, above 1 too timid. :math:`b` in
    :math:`\operatorname{logit} P(\hat y = y) = a + b \operatorname{logit}(c)`, both fitted by maximum
    likelihood, the confidence read to 7 decimals and within [1e-6, 1 - 1e-6], as nearer to 0 or 1
    there is nothing that data could tell apart. Parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        There is no maximum: of the items that weigh anything all are right, or all wrong, or a
        threshold separates them, or all have one confidence.

    References
    ----------
    D. R. Cox, "Two further applications of a model for binary regression", Biometrika 45 (1958).

    Examples
    --------
    >>> probs = [[0.6, 0.4]] * 5 + [[0.9, 0.1]] * 10
    >>> round(calibration_slope(probs, [0, 0, 0, 1, 1] + [0] * 9 + [1]), 6)
    1.0
    """
    return _logistic(outcomes, free_slope=True)


@formula(
    "calibration_intercept",
    direction="none",
    definition={**_LOGISTIC, "slope": "fixed at 1"},
)
def calibration_intercept(outcomes: Outcomes) -> _Logistic:
    r"""Calibration in the large: how far the logit of the confidence is off on the whole.

    0 is perfect; negative means overconfident. :math:`a` in
    :math:`\operatorname{logit} P(\hat y = y) = a + \operatorname{logit}(c)`, the slope being fixed at 1.
    The confidence is read as by :func:`calibration_slope`. Parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        There is no maximum: of the items that weigh anything all are right, or all wrong.

    References
    ----------
    Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Med. 17 (2019).

    Examples
    --------
    >>> round(calibration_intercept([[0.5, 0.5]] * 4, [0, 0, 0, 1]), 6)  # ln 3
    1.098612
    """
    return _logistic(outcomes, free_slope=False)
