"""Is a model that was tuned in the quantized space better calibrated than one that was quantized after?

Every arm is trained on the same items with the same budget and measured on the same items; what tuning
does and what quantization does are told apart.
"""

import pytest

import calbench

pytestmark = [
    pytest.mark.training,
    calbench.grid(calibrators="identity", by_default={"tasks": "tweets,siqa", "quantizers": "bnb-nf4"}),
]


def test_qlora_is_calibrated_no_worse_than_quantizing_after_tuning(calbench):
    calbench.arms().require("ece_shared_bins", arm="qlora", against="tuned-ptq", max_increase=0.02)


def test_qlora_answers_no_worse_than_quantizing_after_tuning(calbench):
    calbench.arms().require("accuracy", arm="qlora", against="tuned-ptq", max_increase=0.02)


def test_a_temperature_leaves_qlora_no_worse_calibrated_than_quantizing_after_tuning(calbench):
    calbench.arms().require(
        "ece_shared_bins", arm="qlora+temperature", against="tuned-ptq+temperature", max_increase=0.02
    )


def test_quantization_costs_the_tuned_model_no_more_likelihood_than_the_untuned(calbench):
    calbench.arms().require("nll", contrast="tuning × quantization", max_increase=0.05)
