"""Does distilling the full-precision model into the quantized one restore what quantization cost?"""

import pytest

import calbench

pytestmark = [
    pytest.mark.training,
    calbench.grid(calibrators="identity", by_default={"tasks": "tweets,siqa", "quantizers": "bnb-nf4"}),
]


def test_distilling_from_the_reference_leaves_calibration_no_worse(calbench):
    calbench.arms().require("ece_shared_bins", arm="base-distilled", against="base-ptq", max_increase=0.02)


def test_distilling_from_the_reference_leaves_likelihood_no_worse(calbench):
    calbench.arms().require("nll", arm="base-distilled", against="base-ptq", max_increase=0.02)


def test_distilling_from_the_reference_recovers_half_of_the_calibration_error(calbench):
    calbench.arms().require_recovered(
        "ece", reference="base", quantized="base-ptq", restored="base-distilled", min_fraction=0.5
    )


def test_distilling_from_the_tuned_model_is_calibrated_no_worse_than_quantizing_it(calbench):
    calbench.arms().require("ece_shared_bins", arm="tuned-distilled", against="tuned-ptq", max_increase=0.02)
