"""Requirements on a cell: what it may be compared with, and what a failure says."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import results

ONE = """
import calbench

@calbench.grid(models="tiny", tasks="coin", quantizers="bnb-nf4", calibrators="temperature")
def test_it(calbench):
    transfer = calbench.transfer()
    transfer.require(SENTENCE)
"""


@pytest.fixture
def judged(project, pytester):
    """Run one sentence; returns the result and its gates."""

    def run(sentence, *options):
        result = project("--calbench-report=report", *options, suite=ONE.replace("SENTENCE", sentence))
        (row,) = results(pytester)["cells"]
        return result, row["gates"]

    return run


@pytest.mark.parametrize(
    ("sentence", "reference"),
    [
        ('"ece", max_increase=1', "calibrated_reference"),
        ('"ece", max_increase=1, against="raw_reference"', "raw_reference"),
        ('"ece", max_increase=1, against="raw_candidate"', "raw_candidate"),
        ('"ece", max_increase=1, against="refitted"', "refitted"),
        ('"ece", max_increase=1, against="identity"', "identity"),
        ('"ece", at_most=1', ""),
    ],
)
def test_what_a_requirement_compares_with(judged, sentence, reference):
    result, (gate,) = judged(sentence)
    result.assert_outcomes(passed=1)
    assert (gate["reference"], gate["candidate"], gate["outcome"]) == (reference, "transferred", "pass")


def test_against_the_identity_is_against_the_raw_model(judged):
    _, gates = judged(
        '"nll", max_increase=9, against="identity").require("nll", max_increase=9, against="raw_candidate"'
    )
    assert gates[0]["delta"] == gates[1]["delta"] != 0


def test_several_metrics_and_any_metric_that_the_record_can_give(judged):
    _, gates = judged('"ece", "nll", "smece", "ece[n_bins=10]", max_increase=9, level=0.9')
    assert [gate["metric"] for gate in gates] == ["ece", "ece[n_bins=10]", "nll", "smece"]
    assert {gate["level"] for gate in gates} == {0.9}


def test_a_relative_margin_is_a_share(judged):
    _, gates = judged('"brier", max_relative_increase=9).require("brier", max_increase=9')
    assert gates[0]["delta"] == pytest.approx(gates[1]["delta"] / gates[1]["reference_value"])


def test_another_arm_may_be_judged(judged):
    _, gates = judged('"ece", at_most=1, arm="raw_candidate").require("ece", at_most=1')
    assert gates[0]["candidate_value"] != gates[1]["candidate_value"]


def test_a_replayed_sentence_gives_the_same_to_the_last_bit(judged):
    sentence = '"nll", "smece", max_increase=0.01, against="identity").require("ece", at_most=0.1'
    assert judged(sentence)[1] == judged(sentence, "--calbench-replay")[1]


def test_a_failed_ceiling_says_where_the_error_lies(judged):
    result, _ = judged('"ece", at_most=0.0001, arm="raw_candidate"')
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "ece is above the limit 0.0001",
            "*model tiny, task coin, quantizer bnb-nf4, calibrator temperature, seed 42",
            "*raw candidate 0.*, 96% interval [[]0.*, 0.*], n = * test items",
            "*bins that add most*",
            "*mistakes made with confidence 0.9 or more: * of * items, coin-*",
        ]
    )


def test_a_failure_says_who_how_much_where_and_what_to_do(judged):
    result, (gate,) = judged('"nll", max_increase=-9')
    result.stdout.fnmatch_lines(
        [
            "nll got worse by more than the margin -9",
            "*model tiny, task coin, quantizer bnb-nf4, calibrator temperature, seed 42",
            "*calibrated reference * -> transferred *: change *, 96% interval [[]*, *], n = * test items",
            "*raw: reference *, quantized *, refitted on the quantized model *",
            "*bins that moved most*",
            "*new mistakes made with confidence 0.9 or more: *",
            "*records: reference *",
            "*candidate *",
            "*to accept it, give this requirement accepted={'tiny-coin-bnb-nf4-temperature': 'why'}",
        ]
    )
    assert gate["explanation"].startswith("nll got worse")


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ('"ece", max_increase=1, against="raw"', "*no arm is called 'raw'*nor is it a calibrator*"),
        ('"ece", max_increase=1, against="temprature"', "*did you mean 'temperature'*"),
        ('"ece", at_most=1, arm="transfered"', "*no arm is called 'transfered'; did you mean 'transferred'*"),
        ('"accuracy", max_increase=1', "*write max_decrease= instead of max_increase=*"),
    ],
)
def test_words_that_mean_nothing_are_refused_without_a_traceback(judged, sentence, message):
    result, gates = judged(sentence)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"tiny-coin-bnb-nf4-temperature: *Error: {message}"])
    assert gates == []


def test_a_calibrator_of_the_users_own_is_never_remembered(project, pytester):
    """Nothing tells that its code changed, so its results are computed each time."""
    own = """
from calbench.calibrators import softmax

@calbench.calibrator("mine")
class Mine:
    def fit(self, logits, labels, *, context):
        return lambda z: softmax(z / SCALE)
"""
    conftest = pytester.path.joinpath("conftest.py")
    tiny = conftest.read_text()
    suite = ONE.replace('"temperature"', '"mine"').replace("SENTENCE", '"nll", at_most=99')
    values = []
    for scale in ("2.0", "9.0"):
        conftest.write_text(tiny + own.replace("SCALE", scale))
        project("--calbench-report=report", suite=suite, alone=True)
        values.append(results(pytester)["cells"][0]["arms"]["transferred"]["nll"]["value"])
    assert values[0] != values[1]
