from __future__ import annotations

import numpy as np
import pytest

from calbench import metrics


def test_scores_by_hand():
    probs, labels = [[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]], [0, 1]
    assert metrics.accuracy(probs, labels) == 0.5
    assert metrics.negative_log_likelihood(probs, labels) == pytest.approx(-(np.log(0.7) + np.log(0.3)) / 2)
    # .09 + .04 + .01 = .14 and .04 + .49 + .25 = .78
    assert metrics.brier_score(probs, labels) == pytest.approx(0.46, abs=1e-15)
    # (1 - .7)² and .5²
    assert metrics.top_label_brier_score(probs, labels) == pytest.approx(0.17, abs=1e-15)


def test_the_first_of_tied_classes_is_the_prediction():
    assert metrics.accuracy([[0.4, 0.4, 0.2]] * 2, [0, 1]) == 0.5


def test_a_small_probability_is_taken_as_it_is():
    # scikit-learn would stop at 2**-52, which is 36 nats
    found = metrics.negative_log_likelihood([[1 - 1e-30, 1e-30]], [1])
    assert found == pytest.approx(30 * np.log(10), rel=1e-12)


def test_a_probability_of_zero_costs_the_most_that_a_float_can_say():
    assert metrics.negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(1022 * np.log(2))
    assert metrics.get("nll").range[1] == pytest.approx(1022 * np.log(2))


def test_weights_average(both_signs, rng):
    probs, labels = both_signs
    weight = rng.uniform(size=len(labels))
    losses = ((probs - np.eye(5)[labels]) ** 2).sum(axis=1)
    expected = np.average(losses, weights=weight)
    assert metrics.brier_score(probs, labels, sample_weight=weight) == pytest.approx(expected, abs=1e-13)
