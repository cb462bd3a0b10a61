"""What a test can require of arms, and what it is told when that does not hold."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from calbench import Predictions
from calbench._pytest._court import TestCourt
from calbench._pytest._log import TestLog
from calbench.adaptation import METRICS, VariantStudy
from calbench.adaptation._variants import variants
from calbench.errors import UnknownNameError
from calbench.gates import FittedSplit, Split
from calbench.statistics import Resamples
from calbench.store import StoredPredictions

# How much each arm's logits are too large; the one that is 0 answers at random, hardly sure of any.
SHARPNESS = {
    "base": 1.0,
    "base-ptq": 3.0,
    "base-distilled": 1.5,
    "tuned": 1.2,
    "tuned-ptq": 1.3,
    "qlora": 0.0,
}


@pytest.fixture(scope="module")
def result() -> VariantStudy:
    rng = np.random.default_rng(0)
    true = rng.normal(size=3000) * 2
    labels = (rng.random(3000) < 1 / (1 + np.exp(-true))).astype(int)
    ids = [f"{i:04}" for i in range(3000)]
    draw = Resamples.draw(ids[1000:], n_resamples=300, seed=rng)
    splits, records = {}, {}
    split = Split(tuple(ids[:1000]), tuple(ids[1000:]))
    for arm, factor in SHARPNESS.items():
        z = factor * true if factor else 0.01 * rng.normal(size=3000)
        record = Predictions(ids, np.column_stack([np.zeros(3000), z]), labels)
        records[arm] = StoredPredictions(f"key-of-{arm}", record, {}, {})
        splits[arm] = FittedSplit.of(record, split, metrics=METRICS, resamples=draw)
    return VariantStudy("m", "t", "bnb-nf4", 42, variants(SHARPNESS), splits, records)


@pytest.fixture
def arms(result):
    def make(*, inconclusive="warn", correction="none"):
        options = SimpleNamespace(inconclusive=inconclusive, correction=correction)
        court = TestCourt(options, "test", "m-t-bnb-nf4-identity", [], TestLog())
        return replace(result.comparison, court=court)

    return make


def outcome(arms):
    return [gate["outcome"] for gate in arms.court.gates]


def refused(message):
    return pytest.raises(UnknownNameError, match=message)


def failing(message):
    return pytest.raises(pytest.fail.Exception, match=message)


def test_an_arm_within_the_margin_passes(arms):
    under_test = arms().require("nll", arm="base-distilled", against="base-ptq", max_increase=0.0)
    assert outcome(under_test) == ["pass"]


def test_a_worse_arm_fails_with_both_values(arms):
    with failing(
        r"(?s)nll got worse by more than the margin \+0.02.*base 0\.\d+ -> base-ptq 0\.\d+: change \+0\.\d+"
    ):
        arms().require("nll", arm="base-ptq", against="base", max_increase=0.02)


def test_a_calibrator_on_both_arms_can_be_asked_for(arms):
    under_test = arms().require(
        "nll", arm="base-ptq+temperature", against="base+temperature", max_increase=0.02
    )
    assert outcome(under_test) == ["pass"]


def test_a_collapsed_arm_fails_although_its_ece_is_excellent(arms, result):
    under_test = arms()
    compared = result.comparison
    assert compared.estimate("ece", arm="qlora").value < compared.estimate("ece", arm="base-ptq").value
    with failing(r"qlora has collapsed: right on 0\.\d+, while always giving the commonest"):
        under_test.require("ece", arm="qlora", against="base-ptq", max_increase=0.02)
    assert outcome(under_test) == ["fail"]


def test_an_accepted_failure_is_recorded_and_does_not_fail(arms):
    under_test = arms().require(
        "nll", arm="base-ptq", against="base", max_increase=0.0, accepted={"m-t-*": "looked at"}
    )
    assert under_test.court.gates[0]["accepted"] == "looked at"
    assert outcome(under_test) == ["fail"]


def test_an_inconclusive_gate_fails_only_on_demand(arms):
    wanted = {"arm": "tuned-ptq", "against": "tuned", "max_increase": 0.004}
    assert outcome(arms().require("ece", **wanted)) == ["inconclusive"]
    with failing("ece may have got worse by more than the margin"):
        arms(inconclusive="fail").require("ece", **wanted)


def test_an_effect_is_gated_by_its_interval(arms):
    assert outcome(arms().require("nll", contrast="tuning × quantization", max_increase=0.0)) == ["pass"]
    with failing(re.escape("quantization: +0.")):
        arms().require("nll", contrast="quantization", max_increase=0.02)


def test_an_unknown_effect_is_refused(arms):
    with refused("no contrast is called 'tuning x quantization'; did you mean 'tuning × quantization'"):
        arms().require(contrast="tuning x quantization", max_increase=0.0)


RESTORED = {"reference": "base", "quantized": "base-ptq", "restored": "base-distilled"}


def test_a_recovered_fraction_is_gated_by_its_interval(arms):
    assert outcome(arms().require_recovered("nll", **RESTORED, min_fraction=0.5)) == ["pass"]
    with failing(r"the share of the lost nll that base-distilled recovers of base-ptq is below 1\.1"):
        arms().require_recovered("nll", **RESTORED, min_fraction=1.1)


def test_a_refused_fraction_is_inconclusive(arms):
    nothing_lost = {"reference": "base-ptq", "quantized": "base", "restored": "base-distilled"}
    under_test = arms().require_recovered("nll", **nothing_lost, min_fraction=0.5)
    assert outcome(under_test) == ["inconclusive"]
    assert "nothing to recover" in under_test.court.gates[0]["why"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"arm": "qlor", "against": "base"}, "no arm is called 'qlor'; did you mean 'qlora'"),
        ({"arm": "qlora", "against": "ptq-lora"}, "no arm is called 'ptq-lora'"),
    ],
)
def test_an_unknown_arm_is_refused(arms, wanted, message):
    with refused(message):
        arms().require("ece", **wanted, max_increase=0.0)


def test_gates_on_arms_are_corrected_for_their_number_like_any_others(arms):
    """Each has a p-value: of two arms, a contrast, a fraction; a flaw is excused by no number."""
    many = arms(correction="holm")
    many.require("nll", arm="base-ptq", against="base", max_increase=0.02)
    many.require("nll", contrast="quantization", max_increase=0.02)
    many.require_recovered("nll", **RESTORED, min_fraction=1.1)
    many.require("ece", arm="qlora", against="base-ptq", max_increase=0.02)
    p_values = [gate["p_value"] for gate in many.court.gates]
    assert all(p < 0.01 for p in p_values)
    assert p_values[-1] == 0.0
