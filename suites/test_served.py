"""Builds that are served, beside the one that they were made from: do temperatures and promises hold?

Declare your builds in calbench.toml (docs/serving.md), start their servers, and run it by name. Models of
words and decision models are asked the same:

    pytest suites/test_served.py --calbench-models my-model --calbench-tasks my-task
"""

import pytest

import calbench

pytestmark = pytest.mark.served

# Of the answers that are given with this confidence or more, as many may be wrong.
THRESHOLD, AT_MOST = 0.9, 0.1


@calbench.grid(quantizers="not fp32", calibrators="identity")
def test_a_build_is_as_good_as_the_one_it_was_made_from(calbench):
    transfer = calbench.transfer()
    transfer.require("brier", max_increase=0.02)
    transfer.require("accuracy", max_decrease=0.05)


@calbench.grid(quantizers="not fp32", calibrators="temperature")
def test_the_temperature_of_the_reference_still_holds(calbench):
    # Published 4-bit builds carry the temperatures of bf16 over: what does it cost not to refit?
    calbench.transfer().require("nll", max_increase=0.02, contrast="regret")


@calbench.grid(quantizers="all", calibrators="temperature")
def test_the_promise_of_a_threshold_holds(calbench):
    # On the reference, and with the reference's temperature on every build: what held there is to hold here.
    calbench.transfer().require(f"selective_risk[threshold={THRESHOLD}]", at_most=AT_MOST)
