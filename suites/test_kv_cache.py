"""Does a quantized key and value cache move calibration, with the weights untouched?"""

import calbench

# Regressions that were looked at, and why they are accepted; delete a line to gate on its cells again.
ACCEPTED = {
    "smollm2-tweets-fp32*kv=int4*": "four-bit states cost SmolLM2 calibration, after every calibrator on all"
    " items of the default profile",
}


@calbench.grid(models="smollm2", tasks="tweets", quantizers=["fp32[kv=int8]", "fp32[kv=int4]"])
def test_a_quantized_cache_does_not_move_calibration(calbench):
    transfer = calbench.transfer()
    transfer.require("brier", max_increase=0.02, accepted=ACCEPTED)
    transfer.require("accuracy", max_decrease=0.05, accepted=ACCEPTED)
