"""Ceilings on the error rate among the answers that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calbench import TopLabelPredictions, compare
from calbench.errors import GateFailedError, InputError


def record(n_kept, n_wrong, n_rest=50):
    sure = [0.96] * n_kept + [0.6] * n_rest
    right = [False] * n_wrong + [True] * (n_kept - n_wrong) + [True, False] * (n_rest // 2)
    return TopLabelPredictions(range(len(sure)), sure, right)


def decide(found, limit=0.05, **options):
    return compare(found, found, **options).decide("selective_risk[threshold=.95]", at_most=limit)


def test_the_interval_is_exact_and_the_coverage_stands_beside_it():
    decision = decide(record(200, 3))
    expected = stats.binomtest(3, 200).proportion_ci(0.95, method="exact")
    assert decision.outcome == "pass"
    assert decision.change.value == 3 / 200
    assert decision.change.interval == pytest.approx((expected.low, expected.high))
    assert "200 kept (coverage 0.800)" in decision.change.sampling


def test_no_error_among_few_answers_is_no_proof_of_none():
    assert decide(record(20, 0)).outcome == "inconclusive"
    assert decide(record(100, 0)).outcome == "pass"


def test_a_threshold_that_keeps_nothing_decides_nothing():
    decision = decide(record(0, 0))
    assert decision.outcome == "inconclusive"
    assert decision.change.interval == (0, 1)


def test_a_broken_promise_fails_with_the_binomial_p_value():
    found = record(200, 30)
    both = compare(found, found)
    with pytest.raises(GateFailedError, match=r"selective_risk\[threshold=0.95\] is above the limit 0.05"):
        both.require("selective_risk[threshold=.95]", at_most=0.05)
    expected = 2 * stats.binom.sf(29, 200, 0.05)
    assert both.p_value(decide(found)) == pytest.approx(expected)


def test_clusters_are_refused():
    found = record(100, 1)
    with pytest.raises(InputError, match="independent answers"):
        decide(found, clusters=np.arange(150) // 5)
