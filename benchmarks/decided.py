"""How many gates of the shipped transfer suite get decided, and how many all items there are could decide.

    python benchmarks/decided.py [--calbench-models M] [--calbench-store DIR] [any option of pytest]

Every cell of the suite's grid but full precision is judged twice: by looks, as a run does it, and once on all
items of its task at the whole level, which no way of asking can beat. Answers that are not in the store are
asked first; with them there it takes a minute.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from tabulate import tabulate

import calbench

METRICS = ("ece", "ece_shared_bins", "brier")
MARGIN = 0.02
IN_REACH = 10  # more than so many times the items there are: the value lies too near the margin
COLUMNS = ("gates", "by looks", "all items at once", "lost to looking", "out of items", "too near the margin")


@calbench.grid(quantizers="not fp32")
def test_a_gate_is_judged_by_looks_and_on_all_items(calbench, record_property):
    transfer = calbench.transfer().require("accuracy", max_decrease=1)
    everything = transfer.looks.at(len(transfer.looks.planned) - 1, transfer)
    for metric in METRICS:
        found = transfer.decide(metric, max_increase=MARGIN), everything.decide(metric, max_increase=MARGIN)
        record_property(metric, [name for name in COLUMNS if counts(name, *found, everything.n_test)])


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

    def pytest_runtest_logreport(self, report) -> None:
        for name, found in report.user_properties if report.when == "call" else ():
            if name in self.counts:
                self.counts[name].update(found)

    def shown(self) -> str:
        rows = [
            {"metric": metric, **{column: found[column] for column in COLUMNS}}
            for metric, found in self.counts.items()
        ]
        return tabulate(rows, headers="keys", tablefmt="github")


if __name__ == "__main__":
    table = Table()
    options = ("--calbench-items=all", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    status = pytest.main([__file__, *options, *sys.argv[1:]], plugins=[table])
    print(table.shown())
    sys.exit(int(status))
