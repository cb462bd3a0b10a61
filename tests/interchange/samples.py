"""Logs of lm-evaluation-harness, as small as they can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

DATE = "2026-01-02T03-04-05.678901"
SCORES = ((-1.0, -2.0, -3.0), (-2.5, -0.5), (-3.0, -1.0, -2.0, -4.0))
TARGETS = (0, 0, 1)


def sample(doc_id: int, scores=SCORES[0], target: object = 0, **changes: Any) -> dict[str, Any]:
    """One row, in the newer spelling: requests in an object, numbers as text."""
    options = ["red", "blue", "green", "a long answer"][: len(scores)]
    return {
        "doc_id": doc_id,
        "target": str(target),
        "arguments": {f"gen_args_{i}": {"arg_0": "Q?", "arg_1": f" {o}"} for i, o in enumerate(options)},
        "filtered_resps": [[str(score), "False"] for score in scores],
        "acc": float(max(scores) == scores[int(target)]) if str(target).isdecimal() else None,
        **changes,
    }


def rows() -> list[dict[str, Any]]:
    """Three items of two, three and four options, of which two are answered right."""
    return [sample(i, s, t) for i, (s, t) in enumerate(zip(SCORES, TARGETS, strict=True))]


def write(folder: Path, task: str = "colours", samples=None, *, accuracy: float | None = 2 / 3) -> Path:
    """Write samples, and the results file beside them."""
    path = folder / f"samples_{task}_{DATE}.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (samples or rows())))
    results = folder / f"results_{DATE}.json"
    known = json.loads(results.read_text())["results"] if results.exists() else {}
    if accuracy is not None:
        known[task] = {"acc,none": accuracy}
        results.write_text(json.dumps({"results": known, "model_name": "m", "lm_eval_version": "0.4.12"}))
    return path


def winogrande(doc_id, scores, right, **changes):
    """An item whose options stand in the contexts and are continued alike."""
    names = ["Ann", "Bob", "Cid"][: len(scores)]
    arguments = {
        f"gen_args_{i}": {"arg_0": f"The cup of {name}", "arg_1": " was empty."}
        for i, name in enumerate(names)
    }
    return {
        "doc_id": doc_id,
        "doc": {"answer": str(right + 1)},
        "target": "was empty.",
        "arguments": arguments,
        "filtered_resps": [[str(score), "False"] for score in scores],
        "acc": float(int(np.argmax(scores)) == right),
        **changes,
    }
