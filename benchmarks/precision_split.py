"""Does quantizing a model's weights move its confidence as PACS assumes, like rounding its logits?

    python benchmarks/precision_split.py [profile]

From stored records of the default suites (run ``pytest suites`` first): for each quantized cell, the share of
items whose confidence moves within the first-order bound 2 p (1 - p) epsilon ||z||, epsilon being the
quantizer's, and the error that the logits really have, as a multiple of epsilon ||z||.
"""

from __future__ import annotations

import sys

import numpy as np
from tabulate import tabulate

from calbench import metrics, quantizers
from calbench.runs import PROFILES, Runner, Selection, grid_of
from calbench.store import Store


def centred(record):
    return record.logits - record.logits.mean(axis=1, keepdims=True)


def row(bench, cell):
    reference = bench.record(cell.model, "fp32", cell.task).predictions
    candidate = bench.record(cell.model, cell.quantizer, cell.task).predictions.take(reference.item_ids)
    epsilon = quantizers.get(cell.quantizer).epsilon
    found = metrics.shift_by_norm(reference, candidate, epsilon=epsilon)
    errors = np.abs(centred(candidate) - centred(reference)).max(axis=1) / found.logit_error
    return {
        "model": cell.model,
        "task": cell.task,
        "quantizer": cell.quantizer,
        "epsilon": epsilon,
        "within the bound": found.share_within,
        "error / (epsilon ||z||), median": np.median(errors),
        "95%": np.quantile(errors, 0.95),
    }


def main(profile):
    bench = Runner(Store.at(), PROFILES[profile], replay=True)
    grid = grid_of(quantizers="not fp32", calibrators="identity")
    rows = [row(bench, cell) for cell in grid.cells(Selection(), PROFILES[profile])]
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "default")
