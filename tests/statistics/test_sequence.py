from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from calbench.errors import InputError
from calbench.gates import PROMISING
from calbench.statistics import Change, outcome_of, power
from calbench.statistics._sequence import Look, looks, sequential_p_value


@given(most=st.integers(1, 50_000), first=st.integers(1, 2000))
def test_looks_double_up_to_what_was_planned_and_spend_no_more_than_its_part(most, first):
    planned = looks(most, first=first)
    assert planned[-1].n == most
    assert all(b.n < 4 * a.n for a, b in pairwise(planned))
    assert sum(look.share for look in planned) == pytest.approx(0.8)


def test_extensions_never_spend_all_that_was_kept_for_them():
    planned = looks(1000, extended=tuple(1000 * 2**k for k in range(1, 12)))
    assert 0.99 < sum(look.share for look in planned) < 1
    # what was planned is the same, whatever is asked later
    assert planned[:2] == looks(1000)


def test_a_look_has_the_level_of_its_share():
    assert Look(500, 0.25).level(0.95) == pytest.approx(0.9875)


def test_a_gates_p_value_is_that_of_the_look_that_shows_most():
    planned = looks(2000)  # 500, 1000, 2000: .2, .2, .4
    assert sequential_p_value({500: 0.5, 1000: 0.004, 2000: 0.1}, planned) == pytest.approx(0.02)
    assert sequential_p_value({500: 0.5}, planned) == 1


def test_looking_again_errs_no_more_often_than_looking_once_and_without_spending_more_often():
    rng = np.random.default_rng(0)
    planned = looks(4000)
    sums = np.cumsum(rng.normal(size=(4000, 4000)), axis=1)
    ends = [look.n for look in planned]
    p = ndtr(-sums[:, [n - 1 for n in ends]] / np.sqrt(ends))
    spent = (p <= 0.05 * np.array([look.share for look in planned])).any(axis=1)
    assert spent.mean() <= 0.05
    assert (p <= 0.05).any(axis=1).mean() > 0.07


@pytest.mark.parametrize("truth", [-1.0, 0.0, 1.0, 4.0])  # in standard errors of all items beyond the limit
def test_giving_up_makes_no_error_and_costs_few_verdicts(truth):
    planned, rng = looks(4000), np.random.default_rng(1)
    ends = [look.n for look in planned]
    steps = rng.normal(size=(800, len(ends))) * np.sqrt(np.diff([0, *ends]))
    means = np.cumsum(steps, axis=1) / ends + truth / np.sqrt(4000)
    kept, given_up = (
        [_in_looks(row, planned, promising=promising) for row in means] for promising in (0.0, PROMISING)
    )
    wrong = {"fail": truth <= 0, "pass": truth > 0}
    for found in (kept, given_up):
        assert sum(wrong.get(outcome, False) for outcome, _ in found) <= 0.025 * len(found)
    pairs = list(zip(kept, given_up, strict=True))
    # It takes verdicts away, and makes none.
    assert all(after in (before, "inconclusive") and n <= most for (before, most), (after, n) in pairs)
    lost = sum(before != after for (before, _), (after, _) in pairs)
    assert lost <= 0.015 * len(pairs)
    assert np.mean([n for _, n in given_up]) < np.mean([n for _, n in kept])


def _in_looks(means, planned, *, promising):
    """Judge a mean of unit variance against a limit of 0; return the outcome and the items asked."""
    for number, (mean, look) in enumerate(zip(means, planned, strict=True)):
        half = ndtri((1 + look.level(0.95)) / 2) / np.sqrt(look.n)
        found = Change(mean, (mean - half, mean + half), look.n, "brier", look.level(0.95))
        outcome, _ = outcome_of(found, 0.0)
        later = [(further.n, further.level(0.95)) for further in planned[number + 1 :]]
        if outcome != "inconclusive" or not later or power(found, 0.0, later) < promising:
            return outcome, look.n
    raise AssertionError("the last look has none after it")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: looks(0), "at least 1"),
        (lambda: looks(1000, extended=(1000,)), "adds none to 1000"),
        (lambda: sequential_p_value({700: 0.1}, looks(1000)), "no look at 700 items was planned"),
    ],
)
def test_bad_looks_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_look_that_would_leave_few_items_to_ask_is_left_out():
    assert [look.n for look in looks(1349, first=1300)] == [1349]
    assert [look.n for look in looks(5442, first=1300)] == [1300, 2600, 5442]
    assert [look.n for look in looks(1950, first=1300)] == [1300, 1950]
    assert [look.n for look in looks(1849, first=600)] == [600, 1849]
