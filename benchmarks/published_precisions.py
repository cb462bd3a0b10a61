"""Several precisions of one model on several tasks, against full precision, from files of confidences.

    python -m benchmarks.published_precisions FOLDER [REFERENCE]

Reads ``MODEL_NAME_TASK.pt`` of the uncertainty-aware-inference study (tensors ``confidences`` and
``accuracies``, rows in the same order) and prints a table: ECE over 15 bins, the Brier score of the top
answer and accuracy, and of each the difference to the reference with its paired 95% percentile interval.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate

from calbench.interchange import pair, read
from calbench.metrics import Outcomes
from calbench.records import ColumnNames
from calbench.statistics import resample, resamples_for

COLUMNS = ColumnNames(row_ids=True, confidence="confidences", correct="accuracies")
METRICS = ("ece", "brier_toplabel", "accuracy")


def named(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the files by task and precision."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.pt")):
        _, precision, task = path.stem.split("_", 1)[0], *path.stem.split("_", 1)[1].rsplit("_", 1)
        found.setdefault(task, {})[precision] = path
    return found


def rows(task: str, files: dict[str, Path], reference: str) -> list[list[str]]:
    """Return a row a precision, the reference first."""
    full = read(files[reference], columns=COLUMNS)
    made = []
    for name in sorted(files, key=lambda name: (name != reference, name)):
        both = pair(full, read(files[name], columns=COLUMNS))
        resamples = resamples_for(full.item_ids)
        ours, theirs = (
            resample(METRICS, Outcomes.from_record(r), resamples) for r in (both.reference, both.candidate)
        )
        cells = [task, name]
        for metric in METRICS:
            a, b = ours[metric], theirs[metric]
            low, high = np.quantile(b.values - a.values, (0.025, 0.975))
            change = "" if name == reference else f" ({b.value - a.value:+.4f} [{low:+.4f}, {high:+.4f}])"
            cells.append(f"{b.value:.4f}{change}")
        made.append(cells)
    return made


def main() -> None:
    folder = Path(sys.argv[1])
    reference = sys.argv[2] if len(sys.argv) > 2 else "16bit_fp16"
    table = [row for task, files in named(folder).items() for row in rows(task, files, reference)]
    print(tabulate(table, ["task", "precision", "ECE", "Brier, top answer", "accuracy"], tablefmt="github"))


if __name__ == "__main__":
    main()
