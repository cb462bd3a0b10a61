"""What llama.cpp and vLLM serve, beside bitsandbytes and GPTQ: a block format of GGUF, and FP8."""

import calbench


@calbench.grid(models="minilm", quantizers=["gguf-q4_0", "fp8-e4m3"])
def test_deployed_formats_keep_a_fitted_calibrator(calbench):
    transfer = calbench.transfer()
    transfer.require("ece_shared_bins", max_increase=0.02)
    transfer.require("accuracy", max_decrease=0.02)
