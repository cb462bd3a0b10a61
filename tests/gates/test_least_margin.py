"""What asking twice moves is the least margin that a gate may claim."""

from __future__ import annotations

import pytest

from calbench.gates import Contrast, Decision, Requirement
from calbench.metrics import get
from calbench.runs import Cell, Measured
from calbench.statistics import Change
from calbench.store import StoredPredictions

ARMS = Contrast("", {"transferred": 1.0, "calibrated_reference": -1.0})


def outcome(interval, margin, *, moved, metric="ece", keyword="max_increase"):
    wanted = Requirement(get(metric), keyword, margin, ARMS)
    change = Change(
        sum(interval) / 2,
        interval,
        1000,
        metric,
        relative=wanted.relative,
        candidate_value=0.05,
        reference_value=0.05,
    )
    return Decision.of(wanted, change, moved=lambda: moved)


@pytest.mark.parametrize("interval", [(-0.003, 0.0005), (0.0015, 0.003)])
def test_a_margin_below_what_asking_again_moves_decides_nothing(interval):
    found = outcome(interval, 0.001, moved=0.004)
    assert found.outcome == "inconclusive"
    assert "moves their confidence by 0.004 on average" in found.why


@pytest.mark.parametrize(
    ("interval", "margin", "expected"),
    [
        ((-0.003, 0.0005), 0.02, "pass"),  # a margin above the floor
        ((-0.03, -0.01), 0.001, "pass"),  # it clears the margin by more than the floor
        ((0.02, 0.05), 0.001, "fail"),
    ],
)
def test_what_asking_again_cannot_move_is_decided(interval, margin, expected):
    assert outcome(interval, margin, moved=0.004).outcome == expected


def test_a_relative_margin_is_taken_in_the_metrics_unit():
    keyword = "max_relative_increase"
    assert outcome((-0.01, 0.01), 0.05, moved=0.004, keyword=keyword).outcome == "inconclusive"
    assert outcome((-0.01, 0.01), 0.05, moved=0.002, keyword=keyword).outcome == "pass"


def test_other_metrics_have_no_such_floor():
    found = outcome((-0.003, 0.0005), 0.001, moved=0.004, metric="brier_toplabel")
    assert found.outcome == "pass"


@pytest.mark.parametrize(("floors", "expected"), [((0.002, 0.004), 0.004), ((1e-6, 2e-6), 0.0)])
def test_the_larger_floor_of_both_records_counts_and_that_of_float32_does_not(floors, expected):
    reference, candidate = (StoredPredictions("k", None, {}, {"confidence_floor": floor}) for floor in floors)
    cell = Cell("m", "t", "q", "identity")
    assert Measured(cell, 42, None, reference, candidate, None).moved_by_asking == expected
    assert Measured(cell, 42, None, candidate, candidate, None).moved_by_asking == 0.0
