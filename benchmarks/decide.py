"""Items asked for each decided gate: looking and stopping, against always asking everything.

    python benchmarks/decide.py FOLDER REFERENCE [MARGIN] [METRIC]

FOLDER holds ``MODEL__PRECISION__TASK.parquet`` or ``MODEL_PRECISION_TASK.pt`` with a confidence and a
correctness of each item, rows in one order; every precision is gated against REFERENCE. Items are asked in
one random order, at the looks of calbench.statistics; a cell stops once its gate is decided. Either way it
errs in 5% at most.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate

from calbench.interchange import read
from calbench.metrics import Outcomes
from calbench.records import ColumnNames
from calbench.statistics import Resamples, change, outcome_of, resample
from calbench.statistics._sequence import looks

COLUMNS = {
    ".pt": ColumnNames(row_ids=True, confidence="confidences", correct="accuracies"),
    ".parquet": ColumnNames(row_ids=True, confidence="conf_pred", correct="is_correct"),
}
LEVEL = 0.95


def cells(folder: Path, reference: str):
    """Yield the name of each cell, and the answers ``(confidences, correct)`` of reference and candidate."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in COLUMNS:
            continue
        if "__" in path.stem:
            model, precision, task = path.stem.split("__")
        else:
            model, rest = path.stem.split("_", 1)
            precision, task = rest.rsplit("_", 1)
        files.setdefault((model, task), {})[precision] = path
    for (model, task), each in files.items():
        full = answers(each[reference])
        for precision in sorted(set(each) - {reference}):
            yield f"{model} {task} {precision}", full, answers(each[precision])


def answers(path: Path):
    record = read(path, columns=COLUMNS[path.suffix])
    return np.asarray(record.confidences), np.asarray(record.correct)


def outcome(reference, candidate, rows, *, metric, margin, level) -> str:
    """Decide one gate on the items in these rows."""
    resamples = Resamples(range(len(rows)), np.ones((len(rows), 1), dtype=int))
    ours, theirs = (
        resample([metric], Outcomes.from_top_label(c[rows], k[rows]), resamples)[metric]
        for c, k in (candidate, reference)
    )
    return outcome_of(change(ours, theirs, level=level), margin)[0]


def main() -> None:
    folder, reference = Path(sys.argv[1]), sys.argv[2]
    margin = float(sys.argv[3]) if len(sys.argv) > 3 else 0.02
    metric = sys.argv[4] if len(sys.argv) > 4 else "ece_shared_bins"
    asked = {"looks": 0, "everything": 0}
    outcomes = {way: {"pass": 0, "fail": 0, "inconclusive": 0} for way in asked}
    for _, full, candidate in cells(folder, reference):
        n = len(full[0])
        order = np.random.default_rng(0).permutation(n)
        for look in looks(n):
            found = outcome(
                full, candidate, order[: look.n], metric=metric, margin=margin, level=look.level(LEVEL)
            )
            if found != "inconclusive":
                break
        asked["looks"] += look.n
        outcomes["looks"][found] += 1
        asked["everything"] += n
        whole = outcome(full, candidate, order, metric=metric, margin=margin, level=LEVEL)
        outcomes["everything"][whole] += 1
    if not asked["everything"]:
        sys.exit(f"{folder} holds no file that is named as above; name the folder of the cells")
    rows = []
    for way, counts in outcomes.items():
        decided = counts["pass"] + counts["fail"]
        each = round(asked[way] / decided) if decided else None
        rows.append({"asked": way, **counts, "items": asked[way], "items per decided gate": each})
    print(tabulate(rows, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
