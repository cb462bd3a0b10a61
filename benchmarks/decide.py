"""Items asked for each decided gate: looking, stopping and giving up, against always asking everything.

    python benchmarks/decide.py FOLDER REFERENCE [MARGIN] [METRIC] [FIRST]

FOLDER holds ``MODEL__PRECISION__TASK.parquet`` or ``MODEL_PRECISION_TASK.pt`` with a confidence and a
correctness of each item, rows in one order; every precision is gated against REFERENCE. Items are asked in
one random order, at the looks of calbench.statistics, the first at FIRST items; a cell stops once its gate
is decided, or once the later looks would hardly decide it. Any of these ways errs in 5% at most. The last row
is what no way can beat that takes these looks: it knows what becomes of each gate before it asks.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from tabulate import tabulate

from calbench.gates import PROMISING
from calbench.interchange import read
from calbench.metrics import Outcomes
from calbench.records import ColumnNames
from calbench.statistics import Change, Resamples, change, looks, outcome_of, power, resample

COLUMNS = {
    ".pt": ColumnNames(row_ids=True, confidence="confidences", correct="accuracies"),
    ".parquet": ColumnNames(row_ids=True, confidence="conf_pred", correct="is_correct"),
}
LEVEL, FIRST = 0.95, 500
WAYS = ("everything", "looks", "looks, given up", "looks, known before")


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


def measured(reference, candidate, rows, *, metric, level) -> Change:
    """Measure one gate on the items in these rows."""
    resamples = Resamples(range(len(rows)), np.ones((len(rows), 1), dtype=int))
    ours, theirs = (
        resample([metric], Outcomes.from_top_label(c[rows], k[rows]), resamples)[metric]
        for c, k in (candidate, reference)
    )
    return change(theirs, ours, level=level)


def asked_by_looks(found, planned, margin, promising) -> tuple[int, str]:
    """Return how many items a gate asks, and what became of it, from what each look would measure."""
    for number, (look, each) in enumerate(zip(planned, found, strict=True)):
        outcome = outcome_of(each, margin)[0]
        later = [(further.n, further.level(LEVEL)) for further in planned[number + 1 :]]
        gives_up = outcome == "inconclusive" and power(each, margin, later) < promising
        if outcome != "inconclusive" or gives_up or not later:
            return look.n, outcome
    raise AssertionError("the last look has none after it")


def main() -> None:
    folder, reference = Path(sys.argv[1]), sys.argv[2]
    margin = float(sys.argv[3]) if len(sys.argv) > 3 else 0.02
    metric = sys.argv[4] if len(sys.argv) > 4 else "ece_shared_bins"
    first = int(sys.argv[5]) if len(sys.argv) > 5 else FIRST
    asked = Counter[str]()
    outcomes = {way: Counter[str]() for way in WAYS}
    for _, full, candidate in cells(folder, reference):
        n = len(full[0])
        order, planned = np.random.default_rng(0).permutation(n), looks(n, first=first)
        found = [
            measured(full, candidate, order[: look.n], metric=metric, level=look.level(LEVEL))
            for look in planned
        ]
        whole = outcome_of(measured(full, candidate, order, metric=metric, level=LEVEL), margin)[0]
        by_looks = asked_by_looks(found, planned, margin, 0.0)
        known = by_looks if by_looks[1] != "inconclusive" else (planned[0].n, by_looks[1])
        ways = (n, whole), by_looks, asked_by_looks(found, planned, margin, PROMISING), known
        for way, (items, outcome) in zip(WAYS, ways, strict=True):
            asked[way] += items
            outcomes[way][outcome] += 1
    if not asked:
        sys.exit(f"{folder} holds no file that is named as above; name the folder of the cells")
    rows, everything = [], None
    for way, counts in outcomes.items():
        decided = counts["pass"] + counts["fail"]
        each = asked[way] / decided if decided else None
        everything = everything or each
        shown = {outcome: counts[outcome] for outcome in ("pass", "fail", "inconclusive")}
        ratio = round(each / everything, 2) if each and everything else None
        per_gate = {"items per decided gate": round(each) if each else None, "of everything's": ratio}
        rows.append({"asked": way, **shown, "items": asked[way], **per_gate})
    print(tabulate(rows, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
