"""Many gates: p-values, Holm's correction, and the number that chance explains."""

from __future__ import annotations

import numpy as np
import pytest

from calbench.metrics import Outcomes
from calbench.statistics import (
    Resamples,
    change,
    exceedance_p_value,
    expected_false_alarms,
    resample,
    resamples_for,
    survivors,
)


def pair(record_of, metric, gap, n=800):
    resamples = resamples_for([f"q{i:05d}" for i in range(n)], n_resamples=2000, seed=3)
    records = record_of(n, 0.02), record_of(n, gap)
    return [resample([metric], Outcomes.from_record(record), resamples)[metric] for record in records]


@pytest.mark.parametrize("metric", ["ece", "brier_toplabel", "ks"])
@pytest.mark.parametrize("relative", [False, True])
def test_the_p_value_is_the_level_at_which_the_gate_turns(record_of, metric, relative):
    reference, candidate = pair(record_of, metric, 0.09)
    # At the margin that the interval of level 90% just excludes, p is 10%.
    limit = change(reference, candidate, relative=relative, level=0.9).interval[0]
    p = exceedance_p_value(reference, candidate, limit=limit, relative=relative)
    assert p == pytest.approx(0.1, rel=0.02)


def test_a_pass_has_p_1_and_a_huge_regression_nearly_0(record_of):
    assert exceedance_p_value(*pair(record_of, "brier_toplabel", 0.02), limit=0.1) == 1.0
    assert exceedance_p_value(*pair(record_of, "brier_toplabel", 0.4), limit=0.0) < 1e-8
    assert exceedance_p_value(*pair(record_of, "ece", 0.4), limit=0.0) < 1e-8


def test_a_ceiling_has_a_p_value(record_of):
    _, candidate = pair(record_of, "ece", 0.2)
    assert exceedance_p_value(None, candidate, limit=0.01) < 1e-6
    assert exceedance_p_value(None, candidate, limit=0.5) == 1.0


def test_the_tail_of_a_biased_metric_starts_where_its_allowance_ends():
    # both are calibrated; the second is broader, so that noise alone makes its error larger
    smallest = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        luck = rng.random(500)
        draw = Resamples.draw(range(500), n_resamples=300, seed=rng)
        reference, candidate = (
            resample(["smece"], Outcomes.from_top_label(c, luck < c), draw)["smece"]
            for c in (rng.uniform(0.97, 1, 500), rng.uniform(0.5, 0.8, 500))
        )
        smallest.append(exceedance_p_value(reference, candidate, limit=0.0))
    assert min(smallest) > 1e-3  # 1e-6 for the plain tail


def test_a_metric_for_which_higher_is_better(record_of):
    reference, candidate = pair(record_of, "accuracy", 0.15)
    assert exceedance_p_value(reference, candidate, limit=0.0) < 1e-4
    assert exceedance_p_value(candidate, reference, limit=0.0) == 1.0


def test_survivors_are_those_of_holms_step_down():
    levels = dict.fromkeys("abcd", 0.95)
    assert survivors({"a": 0.01, "b": 0.02, "c": 0.04, "d": 1.0}, levels) == {"a"}
    assert survivors({"a": 0.01, "b": 0.015, "c": 0.02, "d": 0.04}, levels) == set("abcd")
    assert survivors({}, {}) == set()


def test_expected_false_alarms_add_up():
    assert expected_false_alarms([0.95, 0.99]) == pytest.approx(0.06)


def test_corrected_gates_rarely_raise_any_alarm(record_of):
    # Twenty candidates that are as good as the reference, with noise of their own: any failure is false.
    resamples = resamples_for([f"q{i:05d}" for i in range(300)], n_resamples=500, seed=1)
    alarms = 0
    for repetition in range(20):
        rng = np.random.default_rng(repetition)
        luck, sure = rng.random(300), rng.uniform(0.3, 0.95, 300)
        p_values = {}
        for k in range(20):
            noisy = np.clip(sure + 0.05 * rng.normal(size=300), 0.01, 0.99)
            items = [Outcomes.from_top_label(c, luck < sure) for c in (sure, noisy)]
            both = [resample(["brier_toplabel"], i, resamples)["brier_toplabel"] for i in items]
            p_values[str(k)] = exceedance_p_value(*both, limit=0.01)
        alarms += bool(survivors(p_values, dict.fromkeys(p_values, 0.95)))
    assert alarms <= 3  # 5% of 20, and two standard errors
