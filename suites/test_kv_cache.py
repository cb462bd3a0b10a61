"""Does a quantized key and value cache move calibration, with the weights untouched?"""

import calbench


@calbench.grid(models="smollm2", tasks="tweets", quantizers=["fp32[kv=int8]", "fp32[kv=int4]"])
def test_a_quantized_cache_does_not_move_calibration(calbench):
    transfer = calbench.transfer()
    transfer.require("brier", max_increase=0.02)
    transfer.require("accuracy", max_decrease=0.05)
