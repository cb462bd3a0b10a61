from __future__ import annotations

import numpy as np
import pytest

from calbench import TopLabelPredictions, metrics
from calbench.errors import InputError

GOOD = np.array([[0.7, 0.3], [0.2, 0.8]])


@pytest.mark.parametrize("name", metrics.names())
@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        ([[0.7, 0.3], [1.2, 0.8]], [0, 1], r"probs\[1\] sums to 2"),
        ([[0.7, 0.3], [np.nan, 1.0]], [0, 1], r"probs\[1\] .* not finite"),
        ([[2.0, -1.0], [0.2, 0.8]], [0, 1], r"probs\[0\]"),
        (GOOD, [0, 2], r"labels\[1\] = 2 is outside"),
        (GOOD, [0, -1], r"labels\[1\] = -1 is outside"),
        (GOOD, [0.0, 1.0], "labels has dtype float64"),
        (GOOD, [0], r"labels has shape \(1,\)"),
        (np.empty((0, 2)), np.empty(0, int), "probs is empty"),
        ([0.7, 0.3], [0, 1], "probs has shape"),
        ([["a", "b"]], [0], "not a rectangular array of numbers"),
    ],
)
def test_bad_input_names_the_row(name, probs, labels, message):
    with pytest.raises(InputError, match=message):
        metrics.get(name)(probs, labels)


@pytest.mark.parametrize("name", metrics.names())
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -1.0], r"sample_weight\[1\] = -1"),
        ([0.0, 0.0], "zero throughout"),
        ([1.0, np.nan], r"sample_weight\[1\] = nan"),
        ([1.0], r"sample_weight has shape \(1,\)"),
        (["a", "b"], "not an array of numbers"),
    ],
)
def test_bad_weights_are_refused(name, weight, message):
    with pytest.raises(InputError, match=message):
        metrics.get(name)(GOOD, [0, 0], sample_weight=weight)


def test_all_equal_confidences():
    probs = np.full((8, 4), 0.25)  # the first class wins every tie
    labels = [0, 0, 0, 0, 1, 2, 3, 1]
    assert metrics.expected_calibration_error(probs, labels) == pytest.approx(0.25)
    assert metrics.confidence_auroc(probs, labels) == 0.5
    assert metrics.area_under_risk_coverage(probs, labels) == pytest.approx(0.5)
    with pytest.raises(InputError, match="not defined"):
        metrics.calibration_slope(probs, labels)


def test_confidence_exactly_one_and_wrong():
    probs, labels = np.array([[1.0, 0.0], [1.0, 0.0]]), [1, 0]
    assert metrics.expected_calibration_error(probs, labels) == 0.5
    assert metrics.overconfidence_rate(probs, labels) == 0.5
    assert metrics.negative_log_likelihood(probs, labels) == pytest.approx(1022 * np.log(2) / 2)
    assert metrics.brier_score(probs, labels) == 1.0


def test_a_single_class_that_occurs():
    probs, labels = [[0.9, 0.1], [0.6, 0.4]], [0, 0]
    assert metrics.accuracy(probs, labels) == 1.0
    assert metrics.expected_calibration_error(probs, labels) == pytest.approx(0.25)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0]])
def test_weights_of_a_record_are_one_an_item(weights):
    record = TopLabelPredictions(["a", "b"], [0.9, 0.7], [True, False])
    with pytest.raises(InputError, match=r"sample_weight has shape"):
        metrics.evaluate("accuracy", record, sample_weight=weights)
