from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from calbench.errors import InputError
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
