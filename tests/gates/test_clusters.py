"""Comparisons of items that were sampled together."""

from __future__ import annotations

import numpy as np
import pytest

from calbench.gates import compare
from calbench.records import TopLabelPredictions


def pair_of(n_clusters, size=50):
    rng = np.random.default_rng(4)
    n = n_clusters * size
    clusters = np.repeat(np.arange(n_clusters), size)
    confidences, luck = rng.uniform(0.4, 0.95, n), rng.random(n)
    shift = rng.normal(scale=0.2, size=n_clusters)[clusters]
    return clusters, [
        TopLabelPredictions(range(n), confidences, luck < confidences - shift * side - 0.02)
        for side in (0, 1)
    ]


def test_a_cluster_widens_the_interval_and_is_named():
    clusters, records = pair_of(20)
    alone, together = compare(*records), compare(*records, clusters=clusters)
    assert np.ptp(together.difference("accuracy").interval) > 1.5 * np.ptp(
        alone.difference("accuracy").interval
    )
    decision = together.decide("ece", max_increase=0.5)
    assert "in 20 clusters, design effect" in together.explain(decision)


def test_fewer_than_ten_clusters_decide_nothing():
    clusters, records = pair_of(8)
    both = compare(*records, clusters=clusters)
    assert both.decide("accuracy", max_decrease=0.9).outcome == "inconclusive"
    assert "fewer than 10 decide nothing" in both.explain(both.decide("ece", max_increase=0.5))


def test_weights_change_the_value():
    _, records = pair_of(20)
    weight = np.where(records[0].correct, 1.0, 3.0)
    found = compare(*records, sample_weight=weight).estimate("accuracy", arm="reference")
    assert found.value == pytest.approx(np.average(records[0].correct, weights=weight))
