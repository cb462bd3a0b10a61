"""Over- and underconfidence of the top label: signed gap, sure but wrong, and logistic recalibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from calbench.errors import InputError
from calbench.metrics._outcomes import Items
from calbench.metrics._registration import CONFIDENCE, metric
from calbench.metrics._weighted import SumStatistic, Term, mean_of, point, ratio
from calbench.records import Float64

_MAX_ITERATIONS = 50
_TOLERANCE = 1e-12


def _overconfidence_gap(items: Items) -> SumStatistic:
    return mean_of(items.gaps)


@metric(
    "overconfidence_gap",
    direction="none",
    range=(-1, 1),
    needs="top-label",
    prepare=_overconfidence_gap,
    definition={"confidence": CONFIDENCE},
)
def overconfidence_gap(
    probs: npt.ArrayLike, labels: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
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
    items = Items.from_probs(probs, labels)
    return point(_overconfidence_gap(items), items, sample_weight)


def _sure(items: Items, threshold: float) -> npt.NDArray[np.bool_]:
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold={threshold}; use a probability in [0, 1]")
    return items.confidences >= threshold


def _overconfidence_rate(items: Items, *, threshold: float = 0.9) -> SumStatistic:
    return mean_of(_sure(items, threshold) & ~items.correct)


@metric(
    "overconfidence_rate",
    range=(0, 1),
    needs="top-label",
    prepare=_overconfidence_rate,
    definition={"confidence": CONFIDENCE, "of": "all items"},
    rate=True,
)
def overconfidence_rate(
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    threshold: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
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
    items = Items.from_probs(probs, labels)
    return point(_overconfidence_rate(items, threshold=threshold), items, sample_weight)


def _overconfidence_error_rate(items: Items, *, threshold: float = 0.9) -> SumStatistic:
    sure = _sure(items, threshold)
    terms = Term((sure & ~items.correct).astype(np.float64)), Term(sure.astype(np.float64))
    return SumStatistic(terms, lambda totals, sums: ratio(sums[0][0], sums[1][0]))  # noqa: ARG005


@metric(
    "overconfidence_error_rate",
    range=(0, 1),
    needs="top-label",
    prepare=_overconfidence_error_rate,
    definition={"confidence": CONFIDENCE, "of": "items at or above the threshold"},
)
def overconfidence_error_rate(
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    threshold: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
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
    items = Items.from_probs(probs, labels)
    return point(_overconfidence_error_rate(items, threshold=threshold), items, sample_weight)


@dataclass(frozen=True, eq=False)
class _Logistic:
    """One coefficient of a weighted logistic regression, by Newton's method with step halving."""

    design: Float64
    offset: Float64
    target: Float64
    coefficient: int

    def __call__(self, weights: Float64) -> Float64:
        """Return ``(r,)`` coefficients; NaN where the likelihood has no single maximum."""
        # Only their ratios matter: on one scale, nearly flat likelihoods round alike too.
        weights = weights / weights.mean(axis=0)
        solution: Float64 = np.full(weights.shape[1], np.nan)
        open_: npt.NDArray[np.intp] = np.arange(weights.shape[1])
        beta: Float64 = np.zeros((self.design.shape[1], weights.shape[1]))
        for _ in range(_MAX_ITERATIONS):
            step, solvable, level = self._newton_step(beta, weights)
            beta, step, weights = beta[:, solvable], step[:, solvable], weights[:, solvable]
            open_ = np.asarray(open_[solvable])
            beta = beta + step * self._step_lengths(beta, step, weights)
            done = (np.abs(step) < _TOLERANCE * (1 + np.abs(beta))).all(axis=0) | level[solvable]
            solution[open_[done]] = beta[self.coefficient, done]
            beta, weights, open_ = beta[:, ~done], weights[:, ~done], open_[~done]
            if not len(open_):
                break
        return solution

    def _linear(self, beta: Float64) -> Float64:
        return self.offset[:, None] + self.design @ beta

    def _likelihood(self, beta: Float64, weights: Float64) -> Float64:
        linear = self._linear(beta)
        signed = np.where(self.target[:, None] > 0, linear, -linear)
        return -np.asarray(np.einsum("ij,ij->j", weights, np.logaddexp(0.0, -signed)))

    def _newton_step(
        self, beta: Float64, weights: Float64
    ) -> tuple[Float64, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return the step, where it can be solved for, and where the gradient is 0 but for rounding."""
        fitted = expit(self._linear(beta))
        slopes = weights * (self.target[:, None] - fitted)
        gradient = self.design.T @ slopes
        rounding = 8 * np.finfo(np.float64).eps * (np.abs(self.design.T) @ np.abs(slopes))
        level = (np.abs(gradient) <= rounding).all(axis=0)
        curvature = weights * fitted * (1 - fitted)
        products = self.design[:, :, None] * self.design[:, None, :]
        hessian = np.einsum("ipq,ij->jpq", products, curvature)
        size = np.einsum("jpp->j", hessian) ** hessian.shape[1]
        solvable = np.linalg.det(hessian) > np.maximum(1e-12 * size, np.finfo(np.float64).tiny)
        hessian[~solvable] = np.eye(hessian.shape[1])
        return np.linalg.solve(hessian, gradient.T[:, :, None])[:, :, 0].T, solvable, level

    def _step_lengths(self, beta: Float64, step: Float64, weights: Float64) -> Float64:
        """Halve a step until the likelihood does not fall."""
        start = self._likelihood(beta, weights)
        lengths: Float64 = np.ones(beta.shape[1])
        for _ in range(30):
            worse = self._likelihood(beta + lengths * step, weights) < start - 1e-9 * np.abs(start)
            if not worse.any():
                break
            lengths = np.where(worse, lengths / 2, lengths)
        return lengths


def _logit_confidences(items: Items) -> Float64:
    clipped = np.clip(items.confidences, 2.0**-53, 1 - 2.0**-53)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _calibration_slope(items: Items) -> _Logistic:
    logits = _logit_confidences(items)
    design = np.column_stack([np.ones_like(logits), logits])
    return _Logistic(design, np.zeros_like(logits), items.correct.astype(np.float64), 1)


def _calibration_intercept(items: Items) -> _Logistic:
    logits = _logit_confidences(items)
    return _Logistic(np.ones((len(items), 1)), logits, items.correct.astype(np.float64), 0)


_LOGISTIC = {"confidence": CONFIDENCE, "logit": "clipped to [2**-53, 1 - 2**-53]"}


@metric(
    "calibration_slope",
    direction="none",
    needs="top-label",
    prepare=_calibration_slope,
    definition={**_LOGISTIC, "intercept": "fitted"},
)
def calibration_slope(
    probs: npt.ArrayLike, labels: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    r"""Slope of a logistic regression of correctness on the logit of the confidence.

    1 is perfect; below 1 the confidences are too extreme, above 1 too timid. :math:`b` in
    :math:`\operatorname{logit} P(\hat y = y) = a + b \operatorname{logit}(c)`, both fitted by maximum
    likelihood. Parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        There is no maximum: all answers are right, or all wrong, or a threshold separates them, or
        all confidences are equal.

    References
    ----------
    D. R. Cox, "Two further applications of a model for binary regression", Biometrika 45 (1958).

    Examples
    --------
    >>> probs = [[0.6, 0.4]] * 5 + [[0.9, 0.1]] * 10
    >>> round(calibration_slope(probs, [0, 0, 0, 1, 1] + [0] * 9 + [1]), 6)
    1.0
    """
    items = Items.from_probs(probs, labels)
    return point(_calibration_slope(items), items, sample_weight)


@metric(
    "calibration_intercept",
    direction="none",
    needs="top-label",
    prepare=_calibration_intercept,
    definition={**_LOGISTIC, "slope": "fixed at 1"},
)
def calibration_intercept(
    probs: npt.ArrayLike, labels: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    r"""Calibration in the large: how far the logit of the confidence is off on the whole.

    0 is perfect; negative means overconfident. :math:`a` in
    :math:`\operatorname{logit} P(\hat y = y) = a + \operatorname{logit}(c)`, the slope being fixed at 1.
    Parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        There is no maximum: all answers are right, or all wrong.

    References
    ----------
    Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Med. 17 (2019).

    Examples
    --------
    >>> round(calibration_intercept([[0.5, 0.5]] * 4, [0, 0, 0, 1]), 6)  # ln 3
    1.098612
    """
    items = Items.from_probs(probs, labels)
    return point(_calibration_intercept(items), items, sample_weight)
