"""``check_metric`` passes what is built in, and catches each rule broken on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import metrics
from calbench.metrics import Metric
from calbench.testing import check_metric


def mean_confidence(probs, labels, *, sample_weight=None):
    return float(np.average(probs.max(axis=1), weights=sample_weight))


def ignores_weights(probs, labels, *, sample_weight=None):
    return float(probs.max(axis=1).mean())


def negative(probs, labels, *, sample_weight=None):
    return -mean_confidence(probs, labels, sample_weight=sample_weight)


def nothing(probs, labels, *, sample_weight=None):
    return None


def undefined(probs, labels, *, sample_weight=None):
    return float("nan")


def first_item(probs, labels, *, sample_weight=None):
    return float(probs[0].max())


def writes(probs, labels, *, sample_weight=None):
    probs /= 2
    return 2 * mean_confidence(probs, labels, sample_weight=sample_weight)


def of(function, **more):
    return Metric(function.__name__, function, "none", (0.0, 1.0), "probs", **more)


@pytest.mark.parametrize("name", [*metrics.names(), "ece[strategy=quantile]"])
def test_built_in_metrics_keep_the_rules(name):
    check_metric(name)


def test_a_metric_of_ones_own_that_keeps_the_rules_passes():
    check_metric(of(mean_confidence))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (ignores_weights, "weight 2 is not the same as the item twice"),
        (negative, r"outside its range \[0.0, 1.0\]"),
        (nothing, "returned None; return a finite float"),
        (undefined, "returned nan; return a finite float"),
        (first_item, "depends on the order"),
        (writes, "writes into its inputs"),
    ],
)
def test_a_broken_rule_is_caught(function, message):
    with pytest.raises(AssertionError, match=message):
        check_metric(of(function))


def test_a_preparation_that_differs_from_the_function_is_caught():
    def prepare(items):
        return lambda weights: np.full(weights.shape[1], 0.5)

    with pytest.raises(AssertionError, match="vectorized= gives differs"):
        check_metric(of(mean_confidence, vectorized=prepare))
