"""``calbench.compare`` as a plain function."""

from __future__ import annotations

import numpy as np
import pytest

import calbench
from calbench import Predictions, TopLabelPredictions
from calbench.errors import GateFailedError, InputError

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
    decision = calbench.compare(FP32, 3 * FP32, LABELS).decide("ece", **limit)
    assert (decision.outcome, decision.change.reference_value) == (outcome, None)


def test_a_floor_fails_from_above():
    with pytest.raises(GateFailedError, match=r"accuracy is below the limit 0\.99"):
        calbench.compare(FP32, FP32, LABELS).require("accuracy", at_least=0.99)


def test_records_are_matched_by_id_and_the_order_changes_nothing():
    first = Predictions(range(800), FP32, LABELS)
    second = Predictions(range(800), 1.5 * FP32, LABELS)
    straight = calbench.compare(first, second).difference("ece")
    assert calbench.compare(first, second.take(second.item_ids[::-1])).difference("ece") == straight
    assert calbench.compare(FP32, 1.5 * FP32, LABELS).difference("ece") == straight


def test_the_seed_moves_the_interval_and_not_the_value():
    a, b = (calbench.compare(FP32, 1.5 * FP32, LABELS, seed=seed).difference("brier") for seed in (0, 1))
    assert a.value == b.value
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


def test_a_reference_and_its_candidate_cannot_be_swapped_in_silence():
    full, int4 = (
        Predictions(range(800), factor * FP32, LABELS, metadata={"quantizer": name})
        for factor, name in ((1, "fp32"), (3, "bnb-nf4"))
    )
    with pytest.warns(
        UserWarning, match=r"the candidate has more effective bits \(32\) than the reference \(4\)"
    ):
        calbench.compare(reference=int4, candidate=full)
    calbench.compare(reference=full, candidate=int4)  # no warning, which would be an error


def test_accepting_is_for_tests():
    with pytest.raises(InputError, match="accepted= is for tests"):
        calbench.compare(FP32, 3 * FP32, LABELS).require("ece", max_increase=0, accepted={"*": "why"})


def test_a_decision_says_what_was_decided_and_from_what():
    decision = calbench.compare(FP32, 3 * FP32, LABELS).decide("ece", max_increase=0.02)
    change = decision.change
    assert decision.why == "ece got worse by more than the margin +0.02"
    assert change.value == pytest.approx(change.candidate_value - change.reference_value)
    assert (change.n, decision.limit, decision.items_needed) == (800, 0.02, None)


def test_an_arm_is_not_compared_with_itself():
    with pytest.raises(InputError, match="'candidate' would be compared with itself"):
        calbench.compare(FP32, FP32, LABELS).require("ece", max_increase=0, against="candidate")


def test_a_cluster_is_a_sampled_unit():
    """Four copies of each item are no more evidence than the items."""
    ids, copies = np.repeat(np.arange(800), 4), (np.repeat(FP32, 4, axis=0), np.repeat(LABELS, 4))
    reference, labels = copies
    alone = calbench.compare(FP32, 1.5 * FP32, LABELS).difference("brier")
    naive = calbench.compare(reference, 1.5 * reference, labels).difference("brier")
    honest = calbench.compare(reference, 1.5 * reference, labels, clusters=ids).difference("brier")
    widths = [np.ptp(change.interval) for change in (naive, honest, alone)]
    assert naive.value == pytest.approx(honest.value)
    assert widths[0] < 0.6 * widths[2]
    assert widths[1] == pytest.approx(widths[2], rel=0.15)
