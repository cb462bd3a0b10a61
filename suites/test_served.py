"""Builds that are served, beside the one that they were made from: do confidences and temperatures hold?

Declare your builds in calbench.toml (docs/serving.md), start their servers, and run it by name:

    pytest suites/test_served.py --calbench-models my-model
"""

import pytest

import calbench

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
