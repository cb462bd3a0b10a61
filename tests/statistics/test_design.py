"""Clusters, strata and weights: what was drawn together, and what that does to a verdict."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from calbench.errors import InputError
from calbench.metrics import Outcomes
from calbench.records import TopLabelPredictions
from calbench.statistics import (
    Design,
    Resamples,
    bootstrap,
    change,
    outcome_of,
    own_bounds,
    resample,
    resamples_for,
)


def ids(n):
    """Ids whose order as text is that of the rows."""
    return [f"{i:05d}" for i in range(n)]


def clustered(rng, n_clusters=20, size=50, gap=0.0):
    """Draw answers whose luck is shared within a cluster: half of each item's comes from its cluster."""
    clusters = np.repeat(np.arange(n_clusters), size)
    shared, own = rng.normal(size=n_clusters)[clusters], rng.normal(size=n_clusters * size)
    luck = np.argsort(np.argsort(np.sqrt(0.3) * shared + np.sqrt(0.7) * own)) / len(clusters)
    return clusters, luck


def test_a_resample_takes_whole_clusters():
    clusters = np.repeat([4, 7, 1, 9], [1, 2, 3, 4])
    counts = Resamples.draw(ids(10), n_resamples=50, seed=np.random.default_rng(0), clusters=clusters).counts
    for cluster in set(clusters.tolist()):
        rows = counts[clusters == cluster]
        assert (rows == rows[0]).all()
    assert set(counts.sum(axis=0).tolist()) != {10}


def test_clusters_follow_their_ids():
    clusters = ["x", "x", "y", "y"]
    counts = resamples_for(["b", "c", "a", "d"], n_resamples=40, clusters=clusters).counts  # rows a, b, c, d
    assert (counts[0] == counts[3]).all()
    assert (counts[1] == counts[2]).all()


def test_a_stratum_keeps_its_size_in_each_resample():
    strata = np.repeat(["a", "b"], [30, 10])
    counts = Resamples.draw(ids(40), n_resamples=20, seed=np.random.default_rng(0), strata=strata).counts
    assert (counts[:30].sum(axis=0) == 30).all()


def test_what_is_constant_within_strata_has_no_sampling_error():
    strata, values = np.repeat([0, 1], 20), np.repeat([0.0, 1.0], 20)
    assert Design.of(40, strata=strata).variance(values) == pytest.approx(0, abs=1e-12)
    assert Design.of(40).variance(values) == pytest.approx(10)


def test_clusters_of_one_are_items_but_for_a_degree_of_freedom():
    values = np.random.default_rng(0).normal(size=50)
    alone, single = Design(50), Design.of(50, clusters=range(50))
    assert single.variance(single.unit_sums(values)) == pytest.approx(alone.variance(values) * 50 / 49)


def test_the_design_effect_of_copies_is_their_number():
    values = np.random.default_rng(0).normal(size=200)
    design = Design.of(800, clusters=np.repeat(np.arange(200), 4))
    assert design.effect(np.repeat(values, 4)) == pytest.approx(4 * 200 / 199)


@pytest.mark.parametrize("metric", ["ece", "accuracy", "brier_toplabel"])
def test_copies_of_items_in_clusters_prove_no_more_than_the_items(metric):
    rng = np.random.default_rng(2)
    confidences = rng.uniform(0.4, 0.95, 300)
    correct = rng.random(300) < confidences
    once = Outcomes.from_top_label(confidences, correct)
    often = Outcomes.from_top_label(np.repeat(confidences, 5), np.repeat(correct, 5))
    clusters = np.repeat(np.arange(300), 5)
    width = {}
    for name, items, draw in (
        ("once", once, resamples_for(ids(300))),
        ("naive", often, resamples_for(ids(1500))),
        ("clusters", often, Resamples.draw(ids(1500), seed=np.random.default_rng(0), clusters=clusters)),
    ):
        low, high = own_bounds(resample([metric], items, draw)[metric])
        width[name] = high - low
    assert width["clusters"] > 0.9 * width["once"]
    assert width["naive"] < 0.95 * width["clusters"]


@pytest.mark.parametrize("metric", ["ece", "accuracy", "brier_toplabel", "smece"])
def test_fewer_than_ten_clusters_decide_nothing(metric):
    rng = np.random.default_rng(0)
    clusters, luck = clustered(rng, n_clusters=9)
    confidences = rng.uniform(0.4, 0.95, len(luck))
    draw = Resamples.draw(ids(len(luck)), n_resamples=200, seed=rng, clusters=clusters)
    pair = [
        resample([metric], Outcomes.from_top_label(confidences, luck < confidences - gap), draw)[metric]
        for gap in (0.0, 0.3)
    ]
    assert outcome_of(change(*pair), 0.02)[0] == "inconclusive"
    assert outcome_of(change(None, pair[1]), 0.5)[0] == "inconclusive"


def test_clusters_make_false_alarms_rare_that_items_raise():
    """20 clusters of 50 items, correlated by .3: two independent models, neither of them worse."""
    alarms = {"items": 0, "clusters": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        models = []
        for _ in range(2):
            clusters, _ = clustered(rng)
            confidences = rng.uniform(0.4, 0.95, 1000)
            luck = rng.normal(size=20)[clusters] * np.sqrt(0.3) + rng.normal(size=1000) * np.sqrt(0.7)
            models.append(Outcomes.from_top_label(confidences, ndtr(luck) < confidences))
        for name, given in (("items", None), ("clusters", clusters)):
            draw = resamples_for(ids(1000), n_resamples=200, clusters=given)
            pair = [resample(["accuracy"], items, draw)["accuracy"] for items in models]
            alarms[name] += change(*pair).interval[0] > 0
    assert alarms["items"] >= 10
    assert alarms["clusters"] <= 5


def test_weights_count_items_as_often_as_they_say(record_of):
    record = record_of(60, 0.1)
    weight = np.tile([1, 2], 30)
    repeated = TopLabelPredictions(
        range(90), np.repeat(record.confidences, weight), np.repeat(record.correct, weight)
    )
    for method in ("percentile", "bounds"):
        options = {"n_resamples": 200, "method": method, "seed": np.random.default_rng(0)}
        weighted = bootstrap(record, ["ece", "accuracy"], sample_weight=weight, **options)
        plain = bootstrap(repeated, ["ece", "accuracy"], **options)
        for name in plain:
            assert weighted[name].value == pytest.approx(plain[name].value)
            # fewer items than rows of the repeated record, so a wider interval
            assert np.ptp(weighted[name].interval) > np.ptp(plain[name].interval)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clusters": ["a"]}, "clusters has 1 values for 4 items"),
        ({"clusters": list("aabb"), "strata": list("xyyy")}, "lies in two strata"),
        ({"strata": list("aaab")}, "holds a single unit"),
        ({"sample_weight": [1, 1, 1, -1]}, "not negative"),
    ],
)
def test_bad_designs_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Design.of(4, **given)


@pytest.mark.parametrize("method", ["percentile", "bounds"])
def test_no_estimate_lies_outside_its_interval(method):
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.3, 1, 300)
    record = TopLabelPredictions(range(300), confidences, rng.random(300) < confidences)
    for name, found in bootstrap(record, ["ece", "smece", "ks"], method=method, seed=rng).items():
        assert found.interval[0] <= found.value <= found.interval[1], name


def test_a_verdict_on_ece_draws_no_resamples(record_of, monkeypatch):
    monkeypatch.setattr(Design, "drawn", lambda *_: pytest.fail("drawn"))
    items = [Outcomes.from_record(record_of(400, gap)) for gap in (0.02, 0.2)]
    draw = resamples_for([f"q{i:05d}" for i in range(400)], seed=77)
    pair = [resample(["ece"], one, draw)["ece"] for one in items]
    assert outcome_of(change(*pair), 0.5)[0] == "pass"
