from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import ndtri

from calbench import metrics
from calbench.errors import InputError
from calbench.gates import SEED, compare
from calbench.metrics import Outcomes
from calbench.records import Predictions, TopLabelPredictions
from calbench.statistics import Change, power, resample, resamples_for


def gate(reference, candidate, metric="ece", margin=0.0, *, relative=False, level=None, n_resamples=400):
    way = "decrease" if metrics.get(metric).direction == "higher" else "increase"
    limit = {f"max_{'relative_' if relative else ''}{way}": margin}
    return compare(reference, candidate, n_resamples=n_resamples).decide(metric, level=level, **limit)


def ceiling(record, maximum, metric="ece"):
    limit = "at_least" if metrics.get(metric).direction == "higher" else "at_most"
    return compare(record, record, n_resamples=200).decide(metric, **{limit: maximum})


def test_a_clear_regression_fails(record_of):
    decision = gate(record_of(2000, 0.02), record_of(2000, 0.15), margin=0.05)
    assert decision.outcome == "fail"
    assert decision.change.interval[0] > 0.05
    assert decision.items_needed is None
    assert decision.change.value == pytest.approx(
        decision.change.candidate_value - decision.change.reference_value
    )


def test_the_same_predictions_pass_without_a_margin(record_of):
    for n in (1, 5, 200):
        decision = gate(record_of(n, 0.1), record_of(n, 0.1), margin=0.0)
        assert (decision.outcome, decision.change.value, decision.change.interval) == (
            "pass",
            0.0,
            (0.0, 0.0),
        )


def test_a_slight_change_passes(record_of):
    decision = gate(record_of(5000, 0.05), record_of(5000, 0.06), margin=0.05)
    assert decision.outcome == "pass"
    assert decision.change.interval[1] <= 0.05


def test_too_few_items_are_inconclusive_and_say_how_many_would_do(record_of):
    few = gate(record_of(200, 0.05), record_of(200, 0.10, seed=1), margin=0.02)
    assert few.outcome == "inconclusive"
    assert few.items_needed > 200


def test_the_items_needed_do_decide(record_of):
    decision = gate(record_of(500, 0.05), record_of(500, 0.12), margin=0.02)
    assert decision.outcome == "inconclusive"
    # twice as many: the estimate is for a difference that stays what it was
    n = 2 * decision.items_needed
    assert gate(record_of(n, 0.05), record_of(n, 0.12), margin=0.02).outcome == "fail"


def test_noise_alone_is_no_regression():
    # Two calibrated models, one sharp and one not: plain ECE differs by .06 at n = 300.
    rng = np.random.default_rng(4)
    sharp, broad = rng.uniform(0.97, 0.999, 300), rng.uniform(0.3, 1, 300)
    reference = TopLabelPredictions(range(300), sharp, rng.random(300) < sharp)
    candidate = TopLabelPredictions(range(300), broad, rng.random(300) < broad)
    decision = gate(reference, candidate)
    assert decision.change.value > 0.03
    assert decision.outcome == "inconclusive"


def test_higher_is_better_for_accuracy(record_of):
    worse, better = record_of(2000, 0.3), record_of(2000, 0.0)
    assert gate(better, worse, metric="accuracy", margin=0.05).outcome == "fail"
    assert gate(worse, better, metric="accuracy", margin=0.05).outcome == "pass"
    assert gate(better, worse, metric="accuracy", margin=0.05).change.value < -0.2


def test_a_relative_margin_is_a_share_of_the_reference(record_of):
    candidate, reference = record_of(20_000, 0.15), record_of(20_000, 0.10)
    decision = gate(reference, candidate, margin=0.3, relative=True)
    assert decision.outcome == "fail"
    assert decision.change.value == pytest.approx(
        decision.change.candidate_value / decision.change.reference_value - 1
    )
    assert decision.change.interval[0] > 0.3
    assert gate(reference, candidate, margin=0.8, relative=True).outcome == "pass"


def test_a_relative_margin_of_a_smooth_metric_is_the_percentile_of_ratios(record_of):
    candidate, reference = record_of(400, 0.15), record_of(400, 0.10)
    resamples = resamples_for(reference.item_ids, n_resamples=300, seed=SEED)
    a, b = (
        resample(["brier_toplabel"], Outcomes.from_record(r), resamples)["brier_toplabel"]
        for r in (candidate, reference)
    )
    decision = gate(reference, candidate, "brier_toplabel", 0.1, relative=True, n_resamples=300)
    assert decision.change.interval == pytest.approx(np.quantile(a.values / b.values - 1, [0.025, 0.975]))


def test_nothing_is_a_small_share_of_zero():
    perfect = TopLabelPredictions(range(50), np.ones(50), np.ones(50, dtype=bool))
    wrong = TopLabelPredictions(range(50), np.ones(50), np.arange(50) > 20)
    for metric in ("ece", "brier_toplabel"):
        decision = gate(perfect, wrong, metric=metric, margin=0.05, relative=True)
        assert decision.change.value == np.inf
        assert decision.outcome in ("fail", "inconclusive")
        assert decision.items_needed is None
        assert gate(perfect, perfect, metric=metric, margin=0.05, relative=True).outcome == "pass"
        # nor is what stays at 0 shown to be half of what it was
        assert gate(perfect, perfect, metric=metric, margin=-0.5, relative=True).outcome != "pass"


@pytest.mark.parametrize(("n", "outcome"), [(30, "inconclusive"), (3000, "pass")])
def test_what_is_too_rare_to_be_seen_is_not_excluded(n, outcome):
    # one model's errors, and two models' differences
    right = TopLabelPredictions(range(n), np.full(n, 0.8), np.ones(n, dtype=bool))
    assert ceiling(right, 0.99, "accuracy").outcome == outcome
    surer = TopLabelPredictions(range(n), np.full(n, 0.9), np.ones(n, dtype=bool))
    assert gate(right, surer, metric="accuracy", margin=0.01).outcome == outcome
    assert gate(right, surer, metric="accuracy", margin=0.01, relative=True).outcome == outcome
    # but a model is as right as itself
    assert gate(right, right, metric="accuracy").outcome == "pass"
    assert gate(right, right, metric="accuracy", relative=True).outcome == "pass"


def test_accuracy_that_truly_falls_seldom_passes():
    passes = 0
    for seed in range(100):
        fallen = np.random.default_rng(seed).random(100) < 0.02
        reference = TopLabelPredictions(range(100), np.full(100, 0.8), np.ones(100, dtype=bool))
        candidate = TopLabelPredictions(range(100), np.full(100, 0.7), ~fallen)
        passes += gate(reference, candidate, metric="accuracy", margin=0.01).outcome == "pass"
    assert passes <= 5  # 13 with the percentile interval


@pytest.mark.parametrize("metric", ["accuracy", "brier_toplabel", "smece", "nll"])
def test_one_item_decides_nothing(metric):
    one, other = (Predictions(["a"], [[z, 0.0]], [0]) for z in (2.0, 2.1))
    worst = metrics.get(metric).direction == "lower"
    for decision in (
        gate(other, one, metric=metric, margin=0.01),
        ceiling(one, 0.9 if worst else 0.1, metric),
    ):
        assert decision.outcome == "inconclusive"


def test_a_metric_need_not_be_registered(record_of):
    mine = dataclasses.replace(metrics.get("brier_toplabel"), id="mine")
    assert gate(record_of(500, 0.0), record_of(500, 0.3), metric=mine, margin=0.01).outcome == "fail"


def test_a_ceiling(record_of):
    def below(record, maximum):
        return ceiling(record, maximum)

    assert below(record_of(20_000, 0.0), 0.05).outcome == "pass"
    assert below(record_of(2000, 0.15), 0.05).outcome == "fail"
    few = below(record_of(200, 0.0), 0.05)
    assert few.outcome == "inconclusive"
    assert few.items_needed > 200
    assert few.change.reference_value is None


def test_a_floor_for_what_is_better_when_higher(record_of):
    record = record_of(2000, 0.0)  # accuracy about .62
    assert ceiling(record, 0.5, "accuracy").outcome == "pass"
    assert ceiling(record, 0.8, "accuracy").outcome == "fail"


@pytest.mark.parametrize(
    "metric",
    [
        "smece",
        "ks",
        "classwise_ece",
        "toplabel_ece",
        "ece[strategy=quantile]",
        "ece[norm=l2]",
        "ece_debiased",
        "brier_calibration",
        "nll",
        "brier",
    ],
)
def test_every_error_can_be_gated(metric):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(1500, 3)) * 2
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((1500, 1)) > np.cumsum(true, axis=1)).sum(axis=1).clip(0, 2)
    reference = Predictions(range(1500), logits, labels)
    collapsed = Predictions(range(1500), logits * 8, labels)
    assert gate(reference, collapsed, metric=metric).outcome == "fail"
    assert gate(reference, reference, metric=metric).outcome == "pass"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": np.nan}, "max_increase=nan"),
        ({"level": 1.5}, "level=1.5"),
        ({"metric": "overconfidence_gap"}, "neither way is better"),
    ],
)
def test_bad_options_are_refused(record_of, options, message):
    with pytest.raises(InputError, match=message):
        gate(record_of(50, 0.1), record_of(50, 0.1), **options)


def test_other_items_or_labels_are_refused(record_of):
    record = record_of(50, 0.1)
    with pytest.raises(InputError, match="1 are in one only, such as 'q00000'"):
        gate(record, record.take(record.item_ids[1:]))
    logits = np.random.default_rng(0).normal(size=(10, 3))
    a, b = (Predictions(range(10), logits, np.full(10, label)) for label in (0, 1))
    with pytest.raises(InputError, match="has the label 1 in the reference and 0 in the candidate"):
        gate(b, a)
    with pytest.raises(InputError, match="at_most=inf"):
        ceiling(record, np.inf)


def undecided(value, half, n=1000):
    return Change(value, (value - half, value + half), n, "brier")


def test_the_power_of_further_items_is_that_of_a_simulation():
    measured, rng = undecided(0.01, 0.03), np.random.default_rng(3)
    quantile = ndtri(0.975)
    error = 0.03 / quantile
    truth = rng.normal(0.01, error, 200_000)  # what these items tell of it
    more = (0.01 + 3 * rng.normal(truth, error / np.sqrt(3))) / 4
    half = 0.03 / 2 / quantile * ndtri(0.99)
    decided = ((more + half <= 0.02) | (more - half > 0.02)).mean()
    assert power(measured, 0.02, [(4000, 0.98)]) == pytest.approx(decided, abs=0.005)


def test_power_falls_towards_the_margin_and_is_that_of_the_best_look():
    later = [(2000, 0.95), (4000, 0.95)]
    powers = [power(undecided(value, 0.03), 0.02, later) for value in (0.0, 0.01, 0.02)]
    assert powers == sorted(powers, reverse=True)
    assert power(undecided(0.01, 0.03), 0.02, later) == power(undecided(0.01, 0.03), 0.02, later[1:])


def test_power_is_the_same_where_higher_is_better():
    higher = dataclasses.replace(undecided(-0.01, 0.03), lower_is_better=False)
    assert power(higher, 0.02, [(4000, 0.95)]) == power(undecided(0.01, 0.03), 0.02, [(4000, 0.95)])


def test_nothing_is_given_up_for_an_interval_that_tells_nothing():
    assert power(undecided(0.01, math.inf), 0.02, [(4000, 0.95)]) == 1
    assert power(undecided(0.01, 0.03), 0.02, []) == 0
