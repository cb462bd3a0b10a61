"""The same weights in torch and in llama.cpp: what is rounding of weights, and what is arithmetic?

Needs calbench[llama.cpp]. Run it by its mark: pytest suites -m native --calbench-profile quick
"""

import pytest

import calbench

pytestmark = pytest.mark.native


@calbench.grid(quantizers="gguf-f32", models="smollm2", tasks="tweets", calibrators="identity")
def test_float_weights_are_as_good_in_llama_cpp(calbench):
    # The same weights in float32: sums in another order move nothing that a score could see.
    calbench.transfer().require("brier", max_increase=0.001)
    calbench.transfer().require("accuracy", max_decrease=0.05)


@calbench.grid(
    quantizers="gguf-q4_0,gguf-q4_0[runtime=llama.cpp]",
    models="smollm2",
    tasks="tweets",
    calibrators="identity",
)
def test_q4_0_costs_no_more_than_its_weights(calbench):
    # Beside each other in the leaderboard: torch on the decoded blocks, and llama.cpp on the blocks.
    calbench.transfer().require("brier", max_increase=0.05)
