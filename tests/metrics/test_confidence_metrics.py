from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from calbench import metrics
from calbench.errors import InputError


def test_two_overconfidence_rates_under_one_name():
    probs = [[0.95, 0.05], [0.9, 0.1], [0.6, 0.4], [0.55, 0.45]]
    labels = [0, 1, 1, 0]
    assert metrics.overconfidence_rate(probs, labels) == 0.25  # of all four items
    assert metrics.overconfidence_error_rate(probs, labels) == 0.5  # of the two at .9 or more
    assert metrics.overconfidence_rate(probs, labels, threshold=0.5) == 0.5


def test_nobody_is_sure():
    with pytest.raises(InputError, match="not defined"):
        metrics.overconfidence_error_rate([[0.6, 0.4]], [1])
    assert metrics.overconfidence_rate([[0.6, 0.4]], [1]) == 0.0


def test_a_threshold_outside_its_range():
    with pytest.raises(InputError, match="threshold=90"):
        metrics.overconfidence_rate([[0.6, 0.4]], [1], threshold=90)


def logistic(confidences, correct, *, free_slope, weight):
    x = np.log(confidences / (1 - confidences))

    def loss(beta):
        linear = beta[0] + (beta[1] if free_slope else 1) * x
        return weight @ np.logaddexp(0, np.where(correct, -linear, linear))

    return optimize.minimize(loss, [0.0, 1.0][: 1 + free_slope], method="BFGS", options={"gtol": 1e-8}).x


@pytest.mark.parametrize("weighted", [False, True])
def test_slope_and_intercept_maximize_the_likelihood(both_signs, rng, weighted):
    probs, labels = both_signs
    confidences, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    weight = rng.uniform(0.1, 2, len(labels)) if weighted else np.ones(len(labels))
    slope = metrics.calibration_slope(probs, labels, sample_weight=weight)
    intercept = metrics.calibration_intercept(probs, labels, sample_weight=weight)
    # 1e-5: as far as BFGS with numerical gradients goes
    expected = logistic(confidences, correct, free_slope=True, weight=weight)[1]
    assert slope == pytest.approx(expected, abs=1e-5)
    expected = logistic(confidences, correct, free_slope=False, weight=weight)[0]
    assert intercept == pytest.approx(expected, abs=1e-5)


def test_a_slope_below_one_is_too_extreme(rng):
    accuracy = rng.uniform(0.55, 0.95, 20_000)
    correct = rng.random(20_000) < accuracy
    sharper = 1 / (1 + ((1 - accuracy) / accuracy) ** 2)  # twice the logit
    probs = np.column_stack([sharper, 1 - sharper])
    assert metrics.calibration_slope(probs, np.where(correct, 0, 1)) == pytest.approx(0.5, abs=0.05)


def test_separated_answers_have_no_slope():
    probs = [[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]]
    with pytest.raises(InputError, match="not defined"):
        metrics.calibration_slope(probs, [1, 1, 0, 0])


def test_confidence_one_has_a_finite_logit():
    probs = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.4], [0.6, 0.4]])
    assert np.isfinite(metrics.calibration_slope(probs, [0, 1, 0, 1]))
    assert np.isfinite(metrics.calibration_intercept(probs, [0, 1, 0, 1]))
