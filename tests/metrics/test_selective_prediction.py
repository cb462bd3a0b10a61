from __future__ import annotations

import itertools

import numpy as np
import pytest

from calbench import metrics
from calbench.errors import InputError


def binary(confidences, correct):
    c = np.asarray(confidences, dtype=float)
    return np.column_stack([c, 1 - c]), np.where(correct, 0, 1)


def test_aurc_by_hand():
    # by falling confidence: right, wrong, right; risks 0, 1/2, 1/3
    probs, labels = binary([0.9, 0.8, 0.7], [True, False, True])
    assert metrics.area_under_risk_coverage(probs, labels) == pytest.approx(
        (0 + 1 / 2 + 1 / 3) / 3, abs=1e-15
    )


def test_aurc_averages_over_the_orders_of_ties():
    correct = [True, False, False, True]
    areas = []
    for order in itertools.permutations(range(4)):
        wrong = [not correct[i] for i in order]
        areas.append(np.mean(np.cumsum(wrong) / np.arange(1, 5)))
    probs, labels = binary([0.8] * 4, correct)
    assert metrics.area_under_risk_coverage(probs, labels) == pytest.approx(np.mean(areas), abs=1e-13)


def test_augrc_by_hand():
    # trapezoids of errors so far, over n²: (0 + 1/2 + 1) / 9
    probs, labels = binary([0.9, 0.8, 0.7], [True, False, True])
    found = metrics.area_under_generalized_risk_coverage(probs, labels)
    assert found == pytest.approx(1.5 / 9, abs=1e-15)


def test_augrc_follows_from_accuracy_and_auroc(both_signs):
    a, auroc = metrics.accuracy(*both_signs), metrics.confidence_auroc(*both_signs)
    expected = (1 - auroc) * a * (1 - a) + (1 - a) ** 2 / 2
    found = metrics.area_under_generalized_risk_coverage(*both_signs)
    assert found == pytest.approx(expected, abs=1e-13)


def test_auroc_is_a_count_of_pairs():
    confidences, correct = np.array([0.9, 0.8, 0.8, 0.6, 0.55]), np.array([1, 1, 0, 0, 1], dtype=bool)
    right, wrong = confidences[correct][:, None], confidences[~correct]
    expected = ((right > wrong) + (right == wrong) / 2).mean()
    assert metrics.confidence_auroc(*binary(confidences, correct)) == pytest.approx(expected, abs=1e-15)


def test_coverage_at_risk_takes_the_largest_coverage():
    # risks by coverage: 1/1, 1/2, 1/3, 1/4: only the last two are within 1/3
    probs, labels = binary([0.9, 0.8, 0.7, 0.6], [False, True, True, True])
    assert metrics.coverage_at_risk(probs, labels, risk=1 / 3) == 1.0
    assert metrics.coverage_at_risk(probs, labels, risk=0.1) == 0.0


def test_one_error_in_twenty_is_a_risk_of_five_percent():
    probs, labels = binary(np.linspace(0.95, 0.6, 20), np.arange(20) != 7)
    assert metrics.coverage_at_risk(probs, labels, risk=0.05) == 1.0


def test_a_threshold_cannot_split_ties():
    probs, labels = binary([0.9, 0.7, 0.7], [True, True, False])
    assert metrics.coverage_at_risk(probs, labels, risk=0.0) == pytest.approx(1 / 3)


def test_a_risk_outside_its_range():
    with pytest.raises(InputError, match="risk=5"):
        metrics.coverage_at_risk([[0.9, 0.1]], [0], risk=5)
