"""What a test can require of arms, and what it is told when that does not hold."""

from __future__ import annotations

import re

import numpy as np
import pytest

from calbench import Predictions
from calbench._pytest._arms import ArmsUnderTest
from calbench.adaptation import METRICS, ArmsResult
from calbench.adaptation._variants import designs
from calbench.gates import Side
from calbench.runs import Cell
from calbench.statistics import Resamples
from calbench.store import Record

CELL = Cell("m", "t", "bnb-nf4", "identity")
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
def result() -> ArmsResult:
    rng = np.random.default_rng(0)
    true = rng.normal(size=3000) * 2
    labels = (rng.random(3000) < 1 / (1 + np.exp(-true))).astype(int)
    ids = [f"{i:04}" for i in range(3000)]
    draw = Resamples.draw(ids[1000:], n_resamples=300, rng=rng)
    sides, records = {}, {}
    for arm, factor in SHARPNESS.items():
        z = factor * true if factor else 0.01 * rng.normal(size=3000)
        record = Predictions(ids, np.column_stack([np.zeros(3000), z]), labels)
        records[arm] = Record(f"key-of-{arm}", record, {}, {})
        sides[arm] = Side.of(
            record, calibration_ids=ids[:1000], test_ids=ids[1000:], metrics=METRICS, resamples=draw
        )
    return ArmsResult("m", "t", "bnb-nf4", 42, designs(SHARPNESS), sides, records)


@pytest.fixture
def arms(result):
    def make(*, inconclusive_fails=False):
        return ArmsUnderTest(
            result, CELL, test="test", row={"gates": []}, inconclusive_fails=inconclusive_fails
        )

    return make


def outcome(arms):
    return [gate["outcome"] for gate in arms._row["gates"]]


def failing(message):
    return pytest.raises(pytest.fail.Exception, match=message)


def test_an_arm_within_the_margin_passes(arms):
    under_test = arms().require("nll", arm="base-distilled", against="base-ptq", max_increase=0.0)
    assert outcome(under_test) == ["pass"]


def test_a_worse_arm_fails_with_both_records(arms):
    with failing(
        r"(?s)fail: nll of base-ptq against base: \+0\.\d+, 95% interval .*record of base: key-of-base"
    ):
        arms().require("nll", arm="base-ptq", against="base", max_increase=0.02)


def test_a_calibrator_on_both_arms_can_be_asked_for(arms):
    under_test = arms().require(
        "nll", arm="base-ptq", against="base", max_increase=0.02, calibrator="temperature"
    )
    assert outcome(under_test) == ["pass"]


def test_a_collapsed_arm_fails_although_its_ece_is_excellent(arms, result):
    under_test = arms()
    assert result.measured("qlora", "ece").value < result.measured("base-ptq", "ece").value
    with failing(r"collapsed: qlora has collapsed: right on 0\.\d+, while always giving the commonest"):
        under_test.require("ece", arm="qlora", against="base-ptq", max_increase=0.02)
    assert outcome(under_test) == ["collapsed"]


def test_an_accepted_failure_is_recorded_and_does_not_fail(arms):
    under_test = arms().require(
        "nll", arm="base-ptq", against="base", max_increase=0.0, accepted={"m-t-*": "looked at"}
    )
    assert under_test._row["gates"][0]["accepted"] == "looked at"
    assert outcome(under_test) == ["fail"]


def test_an_inconclusive_gate_fails_only_on_demand(arms):
    wanted = {"arm": "tuned-ptq", "against": "tuned", "max_increase": 0.004}
    assert outcome(arms().require("ece", **wanted)) == ["inconclusive"]
    with failing("inconclusive: ece of tuned-ptq against tuned"):
        arms(inconclusive_fails=True).require("ece", **wanted)


def test_an_effect_is_gated_by_its_interval(arms):
    assert outcome(arms().require_effect("tuning × quantization", "nll", max_increase=0.0)) == ["pass"]
    with failing(re.escape("fail: quantization on nll: +0.")):
        arms().require_effect("quantization", "nll", max_increase=0.02)


def test_an_unknown_effect_is_refused(arms):
    with failing("no contrast is called 'tuning x quantization'; did you mean 'tuning × quantization'"):
        arms().require_effect("tuning x quantization", max_increase=0.0)


RESTORED = {"reference": "base", "quantized": "base-ptq", "restored": "base-distilled"}


def test_a_recovered_fraction_is_gated_by_its_interval(arms):
    assert outcome(arms().require_recovered("nll", **RESTORED, min_fraction=0.5)) == ["pass"]
    with failing(
        r"fail: base-distilled recovers base-ptq: \+0\.\d+, .* of the lost nll, at least 1\.1 wanted"
    ):
        arms().require_recovered("nll", **RESTORED, min_fraction=1.1)


def test_a_refused_fraction_is_inconclusive(arms):
    nothing_lost = {"reference": "base-ptq", "quantized": "base", "restored": "base-distilled"}
    under_test = arms().require_recovered("nll", **nothing_lost, min_fraction=0.5)
    assert outcome(under_test) == ["inconclusive"]
    assert "nothing to recover" in under_test._row["gates"][0]["text"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"arm": "qlor", "against": "base"}, "no arm is called 'qlor'; did you mean 'qlora'"),
        ({"arm": "qlora", "against": "ptq-lora"}, "no arm is called 'ptq-lora'"),
    ],
)
def test_an_unknown_arm_is_refused(arms, wanted, message):
    with failing(message):
        arms().require("ece", **wanted, max_increase=0.0)
