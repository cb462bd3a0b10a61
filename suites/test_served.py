"""Builds that are served, beside the one that they were made from: do confidences and temperatures hold?

Declare your builds in calbench.toml (docs/serving.md), start their servers, and run it by name:

    pytest suites/test_served.py --calbench-models my-model
"""

import pytest

import calbench
from calbench import tasks

pytestmark = pytest.mark.served


@calbench.grid(quantizers="not fp32", calibrators="identity")
def test_a_build_is_as_good_as_the_one_it_was_made_from(calbench):
    transfer = calbench.transfer()
    transfer.require("brier", max_increase=0.02)
    transfer.require("accuracy", max_decrease=0.05)


@calbench.grid(quantizers="not fp32", calibrators="temperature")
def test_the_temperature_of_the_reference_still_holds(calbench):
    # Published 4-bit builds carry the temperatures of bf16 over: what does it cost not to refit?
    calbench.transfer().require("nll", max_increase=0.02, contrast="regret")


@calbench.grid(quantizers="all", calibrators="identity")
def test_the_order_of_options_does_not_move_the_answer(calbench):
    if not isinstance(tasks.get(calbench.cell.task), tasks.Decision):
        pytest.skip(f"{calbench.cell.task} is no decision, whose options have an order")
    shuffled = calbench.measured(task=f"{calbench.cell.task}[order=shuffled]")
    given = calbench.measured()
    calbench.compare(given.candidate.predictions, shuffled.candidate.predictions).require(
        "accuracy", max_decrease=0.02
    )
