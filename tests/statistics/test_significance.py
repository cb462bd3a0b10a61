from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calbench.errors import InputError
from calbench.statistics import holm, mcnemar


def answers(only_a, only_b, both=10):
    a = [True] * only_a + [False] * only_b + [True] * both
    b = [False] * only_a + [True] * only_b + [True] * both
    return a, b


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (8, 1), (12, 12), (0, 24)])
def test_few_differences_are_tested_exactly(only_a, only_b):
    found = mcnemar(*answers(only_a, only_b))
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert found.exact
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p_value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("only_a", "only_b"), [(25, 0), (20, 10), (15, 15), (300, 260)])
def test_many_differences_follow_chi_squared(only_a, only_b):
    found = mcnemar(*answers(only_a, only_b))
    corrected = max(abs(only_a - only_b) - 1, 0) ** 2 / (only_a + only_b)
    assert not found.exact
    assert found.p_value == pytest.approx(stats.chi2.sf(corrected, 1), abs=1e-12)


def test_mcnemar_refuses_what_is_not_paired():
    with pytest.raises(InputError, match=r"correct has shape \(1,\); expected \(2,\)"):
        mcnemar([True, False], [True])
    with pytest.raises(InputError, match="empty"):
        mcnemar([], [])
    with pytest.raises(InputError, match="pass booleans"):
        mcnemar([0.5, 1.0], [True, False])


def test_holm_by_hand():
    # sorted .01 * 4, .02 * 3, .03 * 2 -> at least .06, .04 * 1 -> at least .06
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_the_p_value_and_bonferroni(p_values):
    adjusted = holm(p_values)
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= np.minimum(np.array(p_values) * len(p_values), 1) + 1e-12).all()


def test_holm_keeps_the_order_of_the_p_values():
    adjusted = holm(np.array([0.2, 0.001, 0.04]))
    assert np.argsort(adjusted).tolist() == [1, 2, 0]


def test_holm_of_none_and_of_nonsense():
    assert len(holm([])) == 0
    with pytest.raises(InputError, match="numbers in"):
        holm([0.2, 1.2])
    with pytest.raises(InputError, match="numbers in"):
        holm([np.nan])
