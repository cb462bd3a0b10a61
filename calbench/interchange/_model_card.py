"""Results for a Hugging Face model card: the ``model-index`` of its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from calbench.escaping import plain_json
from calbench.metrics import get
from calbench.records import AnyRecord
from calbench.statistics import Estimate

# What the hub calls a task whose answers are classes.
_KIND = "text-classification"


def model_index(
    record: AnyRecord, estimates: Mapping[str, Estimate], *, model: str, task: str
) -> dict[str, Any]:
    """Return metrics of a record as the metadata of a model card.

    Parameters
    ----------
    record
        What was measured.
    estimates
        By the metrics' ids.
    model
        The model's name on its card.
    task
        Name of the data set.
    """
    metrics = [
        {
            "type": name,
            "name": get(name).id,
            "value": round(estimate.value, 6),
            "args": {
                "interval": [round(bound, 6) for bound in estimate.interval],
                "level": estimate.level,
                "n": len(record),
                **_options(name),
            },
        }
        for name, estimate in estimates.items()
    ]
    dataset = {"type": task, "name": task}
    result = {"task": {"type": _KIND}, "dataset": dataset, "metrics": metrics}
    return {"model-index": [{"name": model, "results": [result]}]}


def front_matter(index: Mapping[str, Any]) -> str:
    """Return metadata as the block that a model card's README.md begins with.

    JSON is YAML, and leaves no text that YAML could take for something else.
    """
    return f"---\n{json.dumps(plain_json(index), indent=2, ensure_ascii=False, allow_nan=False)}\n---\n"


def _options(name: str) -> dict[str, Any]:
    return {
        option: value for option, value in get(name).options.items() if isinstance(value, str | int | float)
    }
