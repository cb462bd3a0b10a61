"""The process that gptqmodel runs in: ``python -m calbench.quantizers.gptq._gptqmodel_worker JOB``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any


def main(description: Path) -> None:
    """Quantize as a job's JSON says, and save into its folder."""
    job: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
    settings = {
        "bits": job["bits"],
        "group_size": job["group_size"],
        "sym": job["sym"],
        # Groups ordered and columns ordered within them, as in the solver here; no torn groups.
        "desc_act": False,
        "act_group_aware": True,
        "damp_percent": job["damp"],
        "dynamic": {rf"-:^{re.escape(name)}$": {} for name in job["skip"]} or None,
    }
    from gptqmodel import GPTQModel, QuantizeConfig

    model = GPTQModel.load(job["source"], QuantizeConfig(**settings))
    samples = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["samples"]]
    # Its own default would drop texts of ten tokens and fewer with a notice in the log.
    model.quantize(samples, batch_size=8, calibration_data_min_length=0)
    model.save(job["folder"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
