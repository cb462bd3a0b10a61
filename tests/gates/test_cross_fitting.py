"""A short form of benchmarks/cross_fitting.py: one curve, 500 items, few draws, the benchmark's own seeds."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from scipy.stats import binom

DRAWS = 40


@pytest.mark.parametrize("metric", ["ece", "ece_shared_bins"])
def test_gates_hold_where_all_items_are_fitted_on_and_scored_in_folds(metric, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    benchmark = importlib.import_module("cross_fitting")
    monkeypatch.setattr(benchmark, "METRICS", (metric,))
    monkeypatch.setattr(benchmark, "CONTRASTS", {"degradation": benchmark.CONTRASTS["degradation"]})
    rows = {row["target"]: row for row in benchmark.curve_rows(1, 500, DRAWS)}
    worlds = sum(world.k == 2 for world in benchmark.WORLDS)
    for side in ("above", "below"):  # in the worst world; .025 is allowed
        n_errors = round(rows["folds"][side] * DRAWS)
        assert binom.sf(n_errors - 1, DRAWS, 0.025) * 2 * worlds > 0.05
    assert rows["folds"]["width"] < 0.9 * rows["one split"]["width"]
