"""Sentences: what they mean, and which make no sense."""

from __future__ import annotations

import pytest

from calbench.errors import InputError, UnknownNameError
from calbench.gates._requirement import Limits, requirements


def one(metric="ece", level=None, **limits):
    (found,) = requirements((metric,), Limits(**limits), arm="b", against="a", level=level)
    return found


def test_a_sentence_names_one_limit_for_each_metric():
    found = requirements(("ece", "nll"), Limits(max_increase=0.02), arm="b", against="a", level=0.9)
    assert [(r.metric.id, r.keyword, r.limit, r.level) for r in found] == [
        ("ece", "max_increase", 0.02, 0.9),
        ("nll", "max_increase", 0.02, 0.9),
    ]


@pytest.mark.parametrize(
    ("keyword", "metric", "is_limit", "relative"),
    [
        ("at_most", "ece", True, False),
        ("at_least", "accuracy", True, False),
        ("max_increase", "ece", False, False),
        ("max_decrease", "accuracy", False, False),
        ("max_relative_increase", "ece", False, True),
        ("max_relative_decrease", "accuracy", False, True),
    ],
)
def test_what_is_limited(keyword, metric, is_limit, relative):
    found = one(metric, **{keyword: 0.1})
    assert (found.kind == "limit", found.relative) == (is_limit, relative)


def test_a_limit_that_faces_the_wrong_way_names_the_right_one():
    with pytest.raises(InputError, match="write max_relative_decrease= instead of max_relative_increase="):
        one("accuracy", max_relative_increase=0.1)
    with pytest.raises(InputError, match="write at_most= instead of at_least="):
        one("ece", at_least=0.1)


def test_metrics_of_both_directions_need_two_sentences():
    with pytest.raises(InputError, match="accuracy is better when it is higher"):
        requirements(("ece", "accuracy"), Limits(max_increase=0.1), arm="b", against="a")


@pytest.mark.parametrize(
    "limits",
    [{}, {"at_most": 1, "max_increase": 1}, {"at_most": True}, {"at_most": "1"}, {"at_most": float("inf")}],
)
def test_there_is_exactly_one_finite_limit(limits):
    with pytest.raises(InputError):
        one(**limits)


def test_a_metric_may_carry_options_and_must_be_known():
    assert one("ece[n_bins=10]", at_most=0.1).metric.options == {"n_bins": 10}
    with pytest.raises(UnknownNameError, match="did you mean 'ece'"):
        one("eec", at_most=0.1)
