"""How many ECE gates of the shipped suites get decided, and how many all items there are could decide.

    python benchmarks/decided.py [--calbench-models M] [--calbench-store DIR] [any option of pytest]

Every cell of the transfer suite's grid but full precision is judged twice: by looks, as a run does it, and
once on all items of its task at the whole level, which no way of asking can beat (the default profile may ask
all items of these tasks). PACS is also judged against a temperature, as its suite does it. Every gate that
all items leave undecided is named. Answers that are not in the store are asked first; with them there it
takes a minute.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from tabulate import tabulate

import calbench
from calbench.gates import IN_REACH

METRICS = ("ece", "ece_shared_bins", "brier")
NAMED = "ece_shared_bins"
MARGIN = 0.02
COLUMNS = ("gates", "by looks", "all items at once", "lost to looking", "out of items", "too near the margin")


@calbench.grid(quantizers="not fp32")
def test_a_gate_is_judged_by_looks_and_on_all_items(calbench, record_property):
    transfer = calbench.transfer().require("accuracy", max_decrease=1)
    everything = transfer.looks.at(len(transfer.looks.planned) - 1, transfer)
    others = ("calibrated_reference", "temperature")
    for against in others if calbench.cell.calibrator.startswith("pacs") else others[:1]:
        for metric in METRICS:
            asked = {"max_increase": MARGIN, "against": against}
            found = transfer.decide(metric, **asked), everything.decide(metric, **asked)
            name = f"{calbench.cell.id} against {against}"
            record_property(metric, (name, [c for c in COLUMNS if counts(c, *found, everything.n_test)]))


def counts(column, by_looks, at_once, n_items) -> bool:
    """Whether a gate is one of a column's."""
    decided = by_looks.outcome != "inconclusive", at_once.outcome != "inconclusive"
    near = at_once.items_needed is None or at_once.items_needed > IN_REACH * n_items
    return {
        "gates": True,
        "by looks": decided[0],
        "all items at once": decided[1],
        "lost to looking": decided == (False, True),
        "out of items": not decided[1] and not near,
        "too near the margin": not decided[1] and near,
    }[column]


class Table:
    """Collects what the tests recorded."""

    def __init__(self) -> None:
        self.counts = {metric: Counter() for metric in METRICS}
        self.named = {column: [] for column in COLUMNS[3:]}

    def pytest_runtest_logreport(self, report) -> None:
        for metric, found in report.user_properties if report.when == "call" else ():
            if metric in self.counts:
                name, columns = found
                self.counts[metric].update(columns)
                for column in self.named.keys() & set(columns) if metric == NAMED else ():
                    self.named[column].append(name)

    def shown(self) -> str:
        rows = [
            {
                "metric": metric,
                **{column: found[column] for column in COLUMNS},
                "decided of what could be": f"{found['by looks'] / max(1, found['all items at once']):.2f}",
            }
            for metric, found in self.counts.items()
        ]
        named = [f"{column}: {name}" for column, names in self.named.items() for name in sorted(names)]
        return "\n".join([tabulate(rows, headers="keys", tablefmt="github"), f"\n{NAMED}:", *named])


if __name__ == "__main__":
    table = Table()
    options = ("-q", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    status = pytest.main([__file__, *options, *sys.argv[1:]], plugins=[table])
    print(table.shown())
    sys.exit(int(status))
