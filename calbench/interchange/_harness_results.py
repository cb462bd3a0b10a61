"""Results in the shape that lm-evaluation-harness writes, for tools that read those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calbench.metrics import get
from calbench.records import AnyRecord
from calbench.statistics import Estimate


def lm_eval_results(record: AnyRecord, estimates: Mapping[str, Estimate], *, task: str) -> dict[str, Any]:
    """Return metrics of a record as a ``results_*.json`` of lm-evaluation-harness.

    Standard errors are a quarter of the width of a 95% interval, which is what the harness's own
    would be for a normal one; the intervals themselves are under ``calbench``.

    Parameters
    ----------
    record
        What was measured.
    estimates
        By the metrics' ids.
    task
        Name of the task.
    """
    measured: dict[str, Any] = {"alias": task, "sample_len": len(record)}
    for name, estimate in estimates.items():
        shown = "acc" if name == "accuracy" else name
        low, high = estimate.interval
        measured[f"{shown},none"] = estimate.value
        measured[f"{shown}_stderr,none"] = (high - low) / 4
    directions = {name: get(name).direction for name in estimates}
    return {
        "results": {task: measured},
        "higher_is_better": {
            task: {
                ("acc" if n == "accuracy" else n): d == "higher" for n, d in directions.items() if d != "none"
            }
        },
        "n-samples": {task: {"original": len(record), "effective": len(record)}},
        "model_name": str(record.metadata.get("model", "")),
        "calbench": {
            "items": record.items_hash,
            "origin": record.metadata.get("origin"),
            "level": next(iter(estimates.values())).level if estimates else None,
            "intervals": {name: list(estimate.interval) for name, estimate in estimates.items()},
            "metrics": {name: get(name).fingerprint for name in estimates},
        },
    }
