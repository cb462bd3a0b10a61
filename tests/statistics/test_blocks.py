"""Very many items are resampled in blocks, with the same intervals as one by one."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import TopLabelPredictions, statistics
from calbench.errors import InputError
from calbench.metrics import Outcomes, get
from calbench.statistics import _blocks as blocks

RNG = np.random.default_rng(0)
CONFIDENCES = RNG.uniform(0.5, 1, 50_000)
RECORD = TopLabelPredictions(range(50_000), CONFIDENCES, RNG.random(50_000) < CONFIDENCES - 0.05)


def test_blocks_give_the_spread_of_single_items():
    items = Outcomes.from_record(RECORD)
    chosen = {name: get(name).weighted(items) for name in ("ece", "accuracy", "brier_toplabel")}
    in_blocks = blocks.block_values(chosen, len(items), n_resamples=1000, seed=np.random.default_rng(1))
    one_by_one = statistics.bootstrap(RECORD, tuple(chosen), n_resamples=1000, seed=np.random.default_rng(2))
    for name, values in in_blocks.items():
        low, high = one_by_one[name].interval
        # Two draws of 1,000: their standard deviations differ by some 3%.
        assert values.std() == pytest.approx((high - low) / (2 * 1.96), rel=0.12)
        assert values.mean() == pytest.approx(one_by_one[name].value, abs=high - low)


def test_bootstrap_takes_blocks_where_counts_would_not_fit(monkeypatch):
    monkeypatch.setattr(blocks, "MAX_COUNTS", 1_000_000)
    estimate = statistics.bootstrap(RECORD, ("accuracy",), n_resamples=200, seed=np.random.default_rng(0))
    low, high = estimate["accuracy"].interval
    assert low < estimate["accuracy"].value < high
    with pytest.raises(InputError, match="auroc_confidence is no function of a few sums"):
        statistics.bootstrap(RECORD, ("auroc_confidence",), n_resamples=200, seed=np.random.default_rng(0))
    with pytest.raises(InputError, match="too many for method='bca'"):
        statistics.bootstrap(RECORD, ("ece",), n_resamples=200, method="bca", seed=np.random.default_rng(0))


def test_very_many_items_that_were_drawn_in_clusters_are_not_taken_for_single_ones(monkeypatch):
    clusters = np.arange(len(RECORD)) // 5_000
    drawn = TopLabelPredictions(RECORD.item_ids, RECORD.confidences, RECORD.correct, cluster_ids=clusters)
    monkeypatch.setattr(blocks, "MAX_COUNTS", 1_000_000)
    rng = np.random.default_rng
    kept = statistics.bootstrap(drawn, ("accuracy",), n_resamples=200, seed=rng(0))["accuracy"]
    said = statistics.bootstrap(RECORD, ("accuracy",), n_resamples=200, seed=rng(0), clusters=clusters)[
        "accuracy"
    ]
    assert kept == said


def test_bca_is_refused_for_items_that_were_not_drawn_one_by_one():
    drawn = RECORD.take(RECORD.item_ids[:600])
    clusters = statistics.resamples_for(drawn.item_ids, n_resamples=50, clusters=np.arange(600) // 20)
    with pytest.raises(InputError, match="accuracy: method='bca' takes no clusters, strata or weights"):
        statistics.bootstrap(drawn, ("accuracy",), method="bca", resamples=clusters)
