from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calbench import metrics
from calbench.errors import InputError
from calbench.gates import compare
from calbench.metrics import Outcomes, get
from calbench.records import Predictions, TopLabelPredictions
from calbench.statistics import (
    bootstrap,
    difference,
    percentile_interval,
    relative_bounds,
    resample,
    resamples_for,
)
from calbench.statistics._interval_formulas import bca_interval, leave_one_out

EVERY = [name for name in metrics.names() if metrics.get(name).needs == "top-label"]


@pytest.mark.parametrize("name", [*EVERY, "ece[strategy=quantile]", "ece[norm=max]"])
def test_a_resample_is_the_metric_of_the_rows_that_were_drawn(record_of, name):
    record = record_of(120, 0.1)
    resamples = resamples_for(record.item_ids, n_resamples=5, seed=2)
    found = resample([name], Outcomes.from_record(record), resamples)[name]
    assert found.value == metrics.evaluate(name, record)
    for value, counts in zip(found.values, resamples.counts.T, strict=True):
        drawn = np.repeat(np.arange(120), counts)
        rows = Outcomes.from_top_label(record.confidences[drawn], record.correct[drawn])
        # 1e-9: the smooth error is solved for to 1e-10
        assert value == pytest.approx(metrics.evaluate(name, rows), abs=1e-9)


def test_many_metrics_together_are_each_one_alone(record_of):
    record = record_of(200, 0.1)
    items, resamples = Outcomes.from_record(record), resamples_for(record.item_ids, n_resamples=64)
    together = resample(EVERY, items, resamples)
    for name in EVERY:
        alone = resample([name], items, resamples)[name]
        assert together[name].values == pytest.approx(alone.values, abs=1e-12, nan_ok=True)


def test_percentile_interval_of_a_mean_is_about_normal(record_of):
    record = record_of(2000, 0.0)
    found = bootstrap(record, ["accuracy"], n_resamples=4000, seed=np.random.default_rng(0))["accuracy"]
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 2000)
    # 6%: noise of a quantile of 4,000 resamples
    assert np.subtract(*found.interval[::-1]) == pytest.approx(2 * half, rel=0.06)


def test_bca_agrees_with_scipy(record_of):
    record = record_of(60, 0.1)
    losses = (record.confidences - record.correct) ** 2
    expected = stats.bootstrap(
        (losses,), np.mean, n_resamples=20_000, method="BCa", random_state=np.random.default_rng(1)
    ).confidence_interval
    found = bootstrap(
        record, ["brier_toplabel"], n_resamples=20_000, method="bca", seed=np.random.default_rng(2)
    )["brier_toplabel"]
    # two draws of 20,000: quantiles agree to about 1% of the width
    assert found.interval == pytest.approx(expected, abs=0.02 * (expected.high - expected.low))


def test_bca_by_hand_without_bias_or_acceleration_is_percentile(rng):
    values = np.concatenate([-np.arange(1.0, 501), np.arange(1.0, 501)])
    symmetric = bca_interval(0.0, values, np.array([-1.0, 1.0]))
    assert symmetric == pytest.approx(percentile_interval(values), abs=1e-9)


def test_bca_of_a_constant():
    assert bca_interval(1.0, np.ones(100), np.ones(10)) == (1.0, 1.0)


def test_bca_leaves_out_what_is_not_defined(rng):
    values, jackknife = rng.normal(size=1000), rng.normal(size=50)
    lacking = np.concatenate([values, np.full(40, np.nan)])
    assert bca_interval(0.2, lacking, jackknife) == bca_interval(0.2, values, jackknife)


@pytest.mark.parametrize("name", EVERY)
def test_leaving_one_out(record_of, name):
    record = record_of(40, 0.1)
    items = Outcomes.from_record(record)
    found = leave_one_out(metrics.get(name).weighted(items), 40)
    kept = np.arange(40) != 7
    expected = metrics.evaluate(name, Outcomes.from_top_label(record.confidences[kept], record.correct[kept]))
    if name == "aurc" or "quantile" in name:
        # weights are relative to the number of items, which stays 40
        assert found[7] == pytest.approx(expected, abs=5e-3)
    elif name == "ece_debiased":
        assert found[7] == pytest.approx(expected, abs=2e-2)
    else:
        assert found[7] == pytest.approx(expected, abs=1e-9)


def test_sharing_resamples_pairs_the_comparison(record_of):
    reference, candidate = record_of(500, 0.1), record_of(500, 0.1, noise=0.01)
    resamples = resamples_for(reference.item_ids, seed=1)
    a, b = (
        resample(["brier_toplabel"], Outcomes.from_record(r), resamples)["brier_toplabel"]
        for r in (candidate, reference)
    )
    assert np.std(a.values - b.values) < 0.5 * np.std(a.values)
    assert difference(a, a).interval == (0.0, 0.0)


def test_what_cannot_be_paired_is_refused(record_of):
    record = record_of(50, 0.1)
    items = Outcomes.from_record(record)
    few, many = (resamples_for(record.item_ids, n_resamples=n) for n in (10, 20))
    a = resample(["ece", "ks"], items, few)
    with pytest.raises(InputError, match="cannot be compared"):
        difference(a["ks"], a["ece"])
    with pytest.raises(InputError, match="not resampled together"):
        difference(resample(["ece"], items, many)["ece"], a["ece"])
    others = resamples_for([f"other {i}" for i in range(50)], n_resamples=10)
    with pytest.raises(InputError, match="not resampled together"):
        difference(resample(["ece"], items, others)["ece"], a["ece"])


def test_a_metric_that_few_resamples_lack_has_an_interval(record_of):
    # about e**-3 = 5% of resamples miss all of three wrong answers; with four, 2%
    record = TopLabelPredictions(range(60), np.linspace(0.5, 0.9, 60), np.arange(60) % 15 != 0)
    found = bootstrap(record, ["auroc_confidence"], seed=np.random.default_rng(0))["auroc_confidence"]
    assert 0 <= found.interval[0] < found.value < found.interval[1] <= 1


def test_a_resample_that_lacks_the_metric_is_no_infinite_ratio():
    correct = np.arange(60) % 15 != 0
    pair = [
        TopLabelPredictions(range(60), confidences, correct)
        for confidences in (np.linspace(0.5, 0.9, 60), np.linspace(0.5, 0.9, 60) ** 2)
    ]
    resamples = resamples_for(pair[0].item_ids)
    a, b = (
        resample(["auroc_confidence"], Outcomes.from_record(r), resamples)["auroc_confidence"] for r in pair
    )
    assert np.isnan(a.values).any()
    assert relative_bounds(b, a, level=0.99) == (0.0, 0.0)  # the order of the confidences is the same


def test_a_metric_that_many_resamples_lack_has_none():
    record = TopLabelPredictions(range(30), np.linspace(0.5, 0.9, 30), np.arange(30) != 0)
    with pytest.raises(InputError, match=r"not defined on \d+% of the resamples"):
        bootstrap(record, ["auroc_confidence"], seed=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 95}, "level=95"),
        ({"method": "normal"}, "method='normal'"),
        ({"metrics": "ece"}, "is a string"),
        ({"metrics": ["nll"]}, "needs the probability of every class"),
    ],
)
def test_bad_options_are_refused(record_of, options, message):
    with pytest.raises(InputError, match=message):
        bootstrap(
            record_of(20, 0.1),
            **{"metrics": ["ece"], "n_resamples": 10, **options},
            seed=np.random.default_rng(0),
        )


@pytest.mark.parametrize("name", ["ece", "classwise_ece", "skce", "nll", "accuracy", "smece"])
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_no_interval_leaves_the_range_of_its_metric(name, n, rng):
    logits = 3 * rng.normal(size=(n, 3))
    reference, candidate = (
        Predictions(range(n), scale * logits, rng.integers(3, size=n)) for scale in (1, 2)
    )
    candidate = Predictions(range(n), candidate.logits, reference.labels)
    both = compare(reference, candidate)
    low, high = get(name).range
    for arm in ("reference", "candidate"):
        bottom, top = both.estimate(name, arm=arm).interval
        assert low <= bottom <= top <= high
    bottom, top = both.difference(name).interval
    assert low - high <= bottom <= top <= high - low
