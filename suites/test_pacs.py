"""Does the precision that computed the logits say how far to trust them? PACS, and the theory behind it."""

import timeit

import pytest

import calbench
from calbench import metrics

ACCEPTED = {
    "smollm2-*-pacs": "SmolLM2 is underconfident; without a temperature PACS can only lower its confidence",
    "minilm-*-bnb-nf4-pacs*": "MiniLM hardly suffers from nf4, and PACS lowers its confidence by nf4's unit"
    " error all the same: by .05 below its accuracy on tweets",
}


@calbench.grid(quantizers="not fp32", calibrators="pacs,pacs_temperature")
def test_pacs_is_calibrated_no_worse_than_a_temperature(calbench):
    calbench.transfer().require(
        "ece_shared_bins", max_increase=0.02, against="temperature", accepted=ACCEPTED
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@calbench.grid(quantizers="fp32", calibrators="pacs")
def test_rounding_the_logits_moves_confidence_within_the_bound(calbench, dtype):
    found = metrics.shift_by_rounding(calbench.measured().reference.predictions, dtype=dtype)
    second_order = 1 + 2 * found.logit_error
    assert (found.shift <= found.bound * second_order + 1e-7).all()


@calbench.grid(quantizers="not fp32", calibrators="pacs")
def test_pacs_takes_less_than_a_thousandth_of_inference(calbench, benchmark):
    candidate = calbench.measured().candidate
    fitted = calbench.transfer().arm("transferred").fitted
    benchmark.group = "calibrators, against inference"
    logits = candidate.predictions.logits
    benchmark.pedantic(fitted, (logits,), rounds=20, warmup_rounds=2)  # for pytest-benchmark's table
    # It measures nothing in parallel runs, so what is asserted is timed here.
    seconds = min(timeit.repeat(lambda: fitted(logits), number=1, repeat=20))
    assert seconds < candidate.provenance["seconds"] / 1000
