from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbench.metrics import AbsoluteSums, Outcomes, get
from calbench.statistics import _bounds as bounds
from calbench.statistics._bounds import absolute_sum_bounds, ratio_bounds


def ece_sums(confidences, correct):
    return get("ece").absolute_sums(Outcomes.from_top_label(confidences, correct))


def expected(bias, mean):
    """Average of |m| - bias(|m|) for m ~ N(mean, 1)."""
    t = np.linspace(mean - 9, mean + 9, 40_001)
    density = np.exp(-((t - mean) ** 2) / 2) / np.sqrt(2 * np.pi)
    return ((np.abs(t) - bias(np.abs(t))) * density).sum() * (t[1] - t[0])


@pytest.mark.parametrize("mean", np.linspace(0, 5, 26))
def test_the_truth_lies_between_the_two_corrections(mean):
    assert expected(bounds._most_bias, mean) <= mean + 1e-6
    # what the documentation admits
    assert expected(bounds._least_bias, mean) >= mean - 0.1


def test_the_larger_correction_is_exact_where_nothing_is_wrong():
    assert expected(bounds._most_bias, 0.0) == pytest.approx(0, abs=1e-6)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 300), level=st.sampled_from([0.5, 0.9, 0.99]))
def test_bounds_are_ordered_and_change_sign_with_the_roles(seed, n, level):
    rng = np.random.default_rng(seed)
    a, b = (ece_sums(rng.random(n), rng.random(n) < 0.5) for _ in range(2))
    low, high = absolute_sum_bounds(b, a, level=level)
    assert low <= high
    assert absolute_sum_bounds(a, b, level=level) == pytest.approx((-high, -low))
    wider = absolute_sum_bounds(b, a, level=1 - (1 - level) / 2)
    assert wider[0] <= low
    assert high <= wider[1]
    own_low, own_high = absolute_sum_bounds(None, a, level=level)
    assert 0 <= own_low <= own_high


def test_sure_and_right_answers_say_nothing_yet():
    # ten answers at .97, all right: no spread at all, and yet no proof of underconfidence
    low, high = absolute_sum_bounds(None, ece_sums(np.full(10, 0.97), np.ones(10, dtype=bool)))
    assert low == 0
    assert high > 0.03


def test_ratio_bounds_are_the_factors_that_are_not_excluded():
    # candidate in [3, 5], reference exactly 2
    low, high = ratio_bounds(lambda factor: (3 - 2 * factor, 5 - 2 * factor))
    assert (low, high) == pytest.approx((0.5, 1.5), abs=1e-5)


def test_a_reference_that_may_be_zero_bounds_no_ratio():
    assert ratio_bounds(lambda _: (-1.0, 1.0)) == (-1.0, np.inf)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_false_alarms_are_rare_where_the_bootstrap_raises_nothing_else(scale):
    """A short version of benchmarks/gate_simulation.py's hardest world, at n = 200."""
    rng = np.random.default_rng(8)
    alarms = 0
    for _ in range(200):
        sharp, broad = rng.uniform(0.97, 0.999, 200), 1 - scale * rng.uniform(0, 0.7, 200)
        reference = ece_sums(sharp, rng.random(200) < sharp)
        candidate = ece_sums(broad, rng.random(200) < broad)
        alarms += absolute_sum_bounds(reference, candidate)[0] > 0
    assert alarms <= 200 * 0.05 + 2 * np.sqrt(200 * 0.05 * 0.95)


@pytest.mark.parametrize("shift", [0.0, 1e-6, 1e-4])
def test_bounds_of_models_that_hardly_differ_do_not_cross(shift):
    # many bins with few items each: the correction for bias falls short in every one of them
    for seed in range(40):
        rng = np.random.default_rng(seed)
        confidences = rng.uniform(0.3, 0.9, 150)
        correct = rng.random(150) < confidences + 0.08
        low, high = absolute_sum_bounds(
            ece_sums(confidences, correct), ece_sums(confidences + shift, correct)
        )
        assert -shift * 1.01 - 1e-12 <= low + 0.08
        assert low <= high
        if not shift:
            assert (low, high) == (0, 0)


def shares_missed(n_groups, n, shift, n_worlds=20):
    """How often the truth lies below and above the bounds, with gaps of ``shift`` errors, of either sign."""
    below = above = 0
    for seed in range(n_worlds):
        rng = np.random.default_rng(seed)
        confidences = rng.uniform(0.4, 0.6, n)
        groups = rng.integers(n_groups, size=n)
        gaps = shift * np.sqrt(0.25 * n_groups / n) * np.where(groups % 2, 1, -1)
        correct = rng.random(n) < confidences + gaps
        items = Outcomes.from_top_label(confidences, correct)
        low, high = absolute_sum_bounds(None, AbsoluteSums.of_confidence(items, groups, n_groups))
        truth = np.abs(gaps).mean()
        below += truth < low
        above += high < truth
    return below / n_worlds, above / n_worlds


@pytest.mark.parametrize("n", [300, 1000, 3000])
def test_a_thousand_groups_of_a_few_items_prove_nothing(n):
    # without allowing for so many small groups every one of these worlds is missed
    assert shares_missed(1000, n, 0.0)[0] <= 0.1


@pytest.mark.parametrize(("n_groups", "n"), [(300, 6000), (1000, 20_000)])
def test_what_many_groups_fall_short_by_is_allowed_for(n_groups, n):
    # a gap of one standard error is where the correction falls short most: .25 and .6 without
    assert shares_missed(n_groups, n, 1.0)[1] <= 0.15


def misses(draw, n, n_draws, seed=3):
    """Return the shares of draws whose bounds lie above, and below, a true difference of 0."""
    rng = np.random.default_rng(seed)
    found = np.array([absolute_sum_bounds(*draw(n, rng)) for _ in range(n_draws)])
    return (found[:, 0] > 0).mean(), (found[:, 1] < 0).mean()


def nearly_the_same(n, rng):
    """Draw two models that are overconfident by .04 and differ by a little noise on their logits."""
    confidences, luck = rng.uniform(0.3, 0.999, n), rng.random(n)
    logits = np.log(confidences / (1 - confidences)) + 0.02 * rng.normal(size=n)
    other = np.clip(1 / (1 + np.exp(-logits)), 0.01, 0.999)
    return ece_sums(confidences, luck < confidences - 0.04), ece_sums(other, luck < other - 0.04)


def test_models_that_are_nearly_the_same_are_not_told_apart():
    # a share of .24 on either side when the bounds were judged against the unpaired spread
    worse, better = misses(nearly_the_same, 4000, 150)
    assert worse <= 0.05
    assert better <= 0.05


def spoiled(n, rng):
    """Draw a model, and the same with one right answer in a hundred turned wrong."""
    confidences, noise = rng.uniform(0.3, 0.999, n), rng.normal(size=n)
    correct = rng.random(n) < confidences
    other = np.clip(confidences + 1e-4 * noise, 0.01, 0.999)
    return ece_sums(confidences, correct), ece_sums(other, correct & (rng.random(n) >= 0.01))


def test_what_is_too_rare_to_have_been_seen_is_not_excluded():
    # two answers turn wrong of two hundred, and in many draws none: the truth, .0065, was missed in .2
    rng = np.random.default_rng(4)
    found = [absolute_sum_bounds(*spoiled(200, rng))[1] for _ in range(200)]
    assert np.mean(np.array(found) < 0.0064) <= 0.025


def test_a_difference_on_shared_bins_does_not_see_items_cross_edges():
    rng = np.random.default_rng(2)
    reference, candidate = (np.full(400, c) for c in (0.6 - 1e-3, 0.6 + 1e-3))
    correct = rng.random(400) < 0.3
    ours, theirs = (
        get("ece_shared_bins").absolute_sums(Outcomes.from_top_label(c, correct))
        for c in (candidate, reference)
    )
    low, high = absolute_sum_bounds(theirs.on(ours), ours)
    assert -0.02 < low < 0.002 < high < 0.02


def test_sums_with_several_groups_an_item_are_not_moved_to_others():
    sums = ece_sums([0.5, 0.9], [True, False])
    with pytest.raises(ValueError, match="one group an item"):
        sums.on(AbsoluteSums(np.zeros((2, 2), dtype=int), np.zeros((2, 2)), np.zeros((2, 2)), sums.coarse))
