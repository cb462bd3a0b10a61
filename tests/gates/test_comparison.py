"""``calbench.compare`` as a plain function."""

from __future__ import annotations

import numpy as np
import pytest

import calbench
from calbench import Predictions, TopLabelPredictions
from calbench.errors import GateFailedError, InputError
from calbench.gates import Limits, requirements

RNG = np.random.default_rng(0)
FP32 = 2 * RNG.normal(size=(800, 3))
LABELS = np.argmax(FP32 + RNG.gumbel(size=FP32.shape), axis=1)


def test_a_regression_raises_an_assertion_that_explains_itself():
    with pytest.raises(AssertionError) as caught:
        calbench.compare(FP32, 3 * FP32, LABELS).require("ece", max_increase=0.02)
    message = str(caught.value)
    assert message.startswith("ece got worse by more than the margin +0.02\n  reference 0.")
    assert "bins that moved most" in message
    assert "new mistakes made with confidence 0.9 or more" in message


def test_the_same_answers_keep_every_limit():
    both = calbench.compare(FP32, FP32.copy(), LABELS)
    assert both.require("ece", "brier", "nll", max_increase=0) is both
    both.require("accuracy", max_relative_decrease=0).require(max_relative_increase=0.0)


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [({"at_most": 0.9}, "pass"), ({"at_most": 0.01}, "fail"), ({"at_most": 0.13}, "inconclusive")],
)
def test_a_ceiling_is_of_the_candidate_alone(limit, outcome):
    (wanted,) = requirements(("ece",), Limits(**limit))
    decision = calbench.compare(FP32, 3 * FP32, LABELS).decide(wanted)
    assert (decision.outcome, decision.reference_value) == (outcome, None)


def test_a_floor_fails_from_above():
    with pytest.raises(GateFailedError, match=r"accuracy is below the limit 0\.99"):
        calbench.compare(FP32, FP32, LABELS).require("accuracy", at_least=0.99)


def test_records_are_matched_by_id_and_the_order_changes_nothing():
    first = Predictions(range(800), FP32, LABELS)
    second = Predictions(range(800), 1.5 * FP32, LABELS)
    (wanted,) = requirements(("ece",), Limits(max_increase=0.0))
    straight = calbench.compare(first, second).change(wanted)
    assert calbench.compare(first, second.take(second.item_ids[::-1])).change(wanted) == straight
    assert calbench.compare(FP32, 1.5 * FP32, LABELS).change(wanted) == straight


def test_the_seed_moves_the_interval_and_not_the_value():
    (wanted,) = requirements(("brier",), Limits(max_increase=0.0))
    a, b = (calbench.compare(FP32, 1.5 * FP32, LABELS, seed=seed).change(wanted) for seed in (0, 1))
    assert a.delta == b.delta
    assert a.interval != b.interval


RECORD = TopLabelPredictions(range(800), np.full(800, 0.7), np.ones(800, bool))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FP32, FP32), "labels are missing"),
        ((RECORD, RECORD, LABELS), "records bring their own labels"),
        ((RECORD, FP32, LABELS), "one side is a record and the other is not"),
        ((FP32, FP32[:5], LABELS), r"candidate: labels has shape|candidate: .*expected \(5,\)"),
        ((FP32, FP32[:, 0], LABELS), r"candidate: logits has shape \(800,\)"),
        ((RECORD, RECORD.take(range(5))), "different items"),
    ],
)
def test_what_does_not_belong_together_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        calbench.compare(*arguments)
