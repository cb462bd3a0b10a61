"""Answers below a threshold go to the reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from calbench import Predictions
from calbench import transfer as calbench_transfer
from calbench.cli import app
from calbench.errors import InputError
from calbench.studies import routes

RNG = np.random.default_rng(3)
N = 1500
TRUE = RNG.normal(size=(N, 3)) * 2
LABELS = (TRUE + RNG.gumbel(size=TRUE.shape)).argmax(axis=1)
FULL = Predictions([f"i{n}" for n in range(N)], TRUE, LABELS)
NOISY = Predictions([f"i{n}" for n in range(N)], TRUE + 2 * RNG.normal(size=TRUE.shape), LABELS)
MOVED = calbench_transfer(FULL, NOISY, "temperature", n_resamples=200)


def test_a_route_gives_each_item_the_answer_of_the_model_it_goes_to():
    (found,) = routes(MOVED, [0.8], candidate_cost=0.3)
    theirs, ours = MOVED.arm("transferred").outcomes, MOVED.arm("calibrated_reference").outcomes
    right = [
        (c if sure >= 0.8 else r)
        for sure, c, r in zip(theirs.confidences, theirs.correct, ours.correct, strict=True)
    ]
    assert found.accuracy.value == pytest.approx(np.mean(right))
    assert found.routed.value == pytest.approx(np.mean(theirs.confidences < 0.8))
    assert found.cost == pytest.approx(0.3 + found.routed.value)
    assert found.accuracy.interval[0] < found.accuracy.value < found.accuracy.interval[1]


def test_a_threshold_of_0_is_the_candidate_alone_and_one_of_1_the_reference():
    nothing, everything = routes(MOVED, [0.0, 1.0])
    assert nothing.routed.value == 0
    assert nothing.accuracy.value == MOVED.estimate("accuracy", arm="transferred").value
    assert nothing.ece.value == MOVED.estimate("ece", arm="transferred").value
    assert everything.accuracy.value == MOVED.estimate("accuracy", arm="calibrated_reference").value


def test_a_calibrator_that_is_too_sure_of_a_noisy_build_sends_too_little_on_and_loses_accuracy_by_it():
    (found,) = routes(MOVED, [0.7])
    assert found.routed.value < found.refitted_routed
    assert found.refitting.interval[1] < 0


@pytest.mark.parametrize(
    ("thresholds", "cost", "message"), [([2.0], 0.2, "no confidence"), ([0.5], -1, "0 to 1")]
)
def test_what_is_out_of_range_is_refused(thresholds, cost, message):
    with pytest.raises(InputError, match=message):
        list(routes(MOVED, thresholds, candidate_cost=cost))


def test_the_command_prints_a_row_a_threshold_and_both_models_alone(tmp_path):
    FULL.write(tmp_path / "fp32.parquet")
    NOISY.write(tmp_path / "int4.parquet")
    pair = [str(tmp_path / "fp32.parquet"), str(tmp_path / "int4.parquet")]
    done = CliRunner().invoke(app, ["route", *pair, "--thresholds", ".7,.9", "--n-resamples", "200"])
    assert done.exit_code == 0
    assert "calibrated reference alone: accuracy" in done.output
    done = CliRunner().invoke(app, ["route", *pair, "--thresholds", ".7,.9", "--json"])
    assert [each["threshold"] for each in json.loads(done.output)["routes"]] == [0.7, 0.9]
    refused = CliRunner().invoke(app, ["route", *pair, "--thresholds", "high"])
    assert "cannot read --thresholds 'high'" in str(refused.exception)
