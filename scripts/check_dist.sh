#!/usr/bin/env bash
# Install the built wheel into an empty environment and use it as a newcomer would: files in, a verdict out.
set -euo pipefail
python=${1:-python3}
dist=$(cd "$(dirname "$0")/../dist" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet "$dist"/calbench-*.whl
cd "$scratch" # not where the source is
"$scratch/venv/bin/python" - <<'PYTHON'
import numpy as np

from calbench import Predictions

rng = np.random.default_rng(0)
logits = 2 * rng.normal(size=(4000, 2))
labels = (rng.random(4000) < 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))).astype(int)
for name, noise in (("fp32", 0), ("int8", 0.01)):
    Predictions(range(4000), logits + noise * rng.normal(size=logits.shape), labels).write(f"{name}.parquet")
PYTHON
cat >test_int8.py <<'PYTHON'
from calbench import Predictions


def test_int8_is_as_calibrated_as_fp32(calbench):
    both = calbench.compare(Predictions.read("fp32.parquet"), Predictions.read("int8.parquet"))
    both.require("ece", "nll", max_increase=0.02)
PYTHON
"$scratch/venv/bin/calbench" --version
"$scratch/venv/bin/calbench" evaluate fp32.parquet
"$scratch/venv/bin/calbench" compare fp32.parquet int8.parquet
"$scratch/venv/bin/python" -m pytest -q test_int8.py
