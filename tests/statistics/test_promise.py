"""Thresholds that keep a promise about errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calbench.errors import InputError
from calbench.statistics import STARTS, THRESHOLDS, binomial_interval, promised, promises


@pytest.mark.parametrize(("k", "n"), [(0, 5), (0, 300), (3, 40), (40, 40), (0, 0)])
def test_the_exact_interval_is_scipys(k, n):
    if n == 0:
        assert binomial_interval(k, n) == (0, 1)
        return
    expected = stats.binomtest(k, n).proportion_ci(0.9, method="exact")
    assert binomial_interval(k, n, 0.9) == pytest.approx((expected.low, expected.high))


def world(rng, n, noise=0.0):
    """Answers whose error rate among those at or above t is known: 1 - (1 + t) / 2 of uniform confidences."""
    sure = rng.uniform(0.5, 1.0, size=n)
    return sure, rng.random(n) < np.clip(sure - noise, 0, 1)


def test_each_p_value_is_the_binomial_tail_of_the_answers_that_are_kept():
    sure, right = world(np.random.default_rng(0), 500)
    for promise in promises(sure, right, at_most=0.2):
        kept = sure >= promise.threshold
        wrong = int((~right[kept]).sum())
        assert (promise.n_kept, promise.n_wrong) == (kept.sum(), wrong)
        expected = (
            stats.binomtest(wrong, int(kept.sum()), 0.2, alternative="less").pvalue if kept.any() else 1
        )
        assert promise.p_value == pytest.approx(expected)


def by_hand(sure, right, at_most, level):
    """Every chain, one test after the other."""
    best = None
    for start in STARTS:
        for t in [t for t in THRESHOLDS if t <= start]:
            kept = sure >= t
            if not kept.any():
                break
            p = stats.binomtest(
                int((~right[kept]).sum()), int(kept.sum()), at_most, alternative="less"
            ).pvalue
            if p > (1 - level) / len(STARTS):
                break
            best = t if best is None else min(best, t)
    return best


@pytest.mark.parametrize("n", [60, 400, 3000])
def test_the_threshold_is_the_lowest_that_any_chain_reaches(n):
    rng = np.random.default_rng(n)
    for at_most in (0.05, 0.15, 0.3):
        sure, right = world(rng, n)
        found = promised(sure, right, at_most=at_most)
        assert (None if found is None else found.threshold) == by_hand(sure, right, at_most, 0.95)


def test_a_promise_is_broken_in_at_most_one_of_twenty_draws_and_often_found():
    rng = np.random.default_rng(2)
    broken = found = naive = 0
    for _ in range(1000):
        sure, right = world(rng, 1000)  # at or above t the truth is (1 - t) / 2
        best = promised(sure, right, at_most=0.1)
        if best is not None:
            found += 1
            broken += (1 - best.threshold) / 2 > 0.1
        rates = [p for p in promises(sure, right, at_most=0.1) if p.n_kept and p.risk <= 0.1]
        naive += bool(rates) and (1 - min(p.threshold for p in rates)) / 2 > 0.1
    assert broken <= 50
    assert found > 700
    assert naive > 300  # what the lowest threshold that looks right would break


def test_where_every_threshold_is_at_the_limit_or_worse_hardly_any_is_found():
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(1000):
        sure = rng.uniform(0.5, 1.0, size=800)
        found += promised(sure, rng.random(800) >= 0.05, at_most=0.05) is not None
    assert found <= 50


def test_none_found_is_an_answer():
    assert promised([0.99] * 20, [True] * 20, at_most=0.05) is None


def test_a_promise_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match=r"at_most=1\.5"):
        promised([0.9], [True], at_most=1.5)
    with pytest.raises(InputError, match="thresholds must fall"):
        promised([0.9], [True], at_most=0.1, thresholds=(0.5, 0.9), starts=(0.5,))
