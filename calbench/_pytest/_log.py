"""What one test leaves behind: plain data that rides on its report, across process borders too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from calbench.gates import Gate
from calbench.report import ComparisonRow, Row, VariantsRow

LOG = pytest.StashKey["TestLog"]()


@dataclass
class TestLog:
    """Results of one test.

    Attributes
    ----------
    rows
        Its cells, as plain JSON, each with its gates.
    arms
        Its arms of tuning and quantization, each set with its gates.
    comparisons
        Its comparisons of the user's own records, each with its gates.
    baselines
        What it would have accepted as baselines.
    skipped
        Quantizers that cannot run here, or models and tasks that cannot be had, and why.
    unasked
        How many requirements against a baseline were not asked because none was named.
    accepted
        Globs that requirements name as accepted, each with the outcome of the gate that it fits, or ``""``.
    asked
        Whether the test required anything, or looked at the numbers.
    whole
        Whether the run took all of the test's cells.
    by_gate
        Whether a gate ended the test.
    """

    __test__ = False  # no test class, whatever its name says

    rows: list[Row] = field(default_factory=list)
    arms: list[VariantsRow] = field(default_factory=list)
    comparisons: list[ComparisonRow] = field(default_factory=list)
    baselines: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unasked: int = 0
    accepted: list[tuple[str, str]] = field(default_factory=list)
    asked: bool = False
    whole: bool = False
    by_gate: bool = False

    def gates(self) -> Iterator[Gate]:
        """Return every gate of the test."""
        for part in (*self.rows, *self.arms, *self.comparisons):
            yield from part["gates"]

    def to_plain(self) -> dict[str, Any]:
        """Return plain data for a report; nothing is copied, for there may be ten thousand."""
        return dict(vars(self))


def properties(gates: Iterable[Gate]) -> Iterator[tuple[str, object]]:
    """Return what JUnit is to hold of a test's gates, each under a name of its own."""
    seen = Counter[str]()
    for gate in gates:
        about = gate["metric"], gate["limit"], gate["candidate"], gate["reference"]
        name = ".".join(filter(None, ("calbench.gate", *about)))
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name}.{seen[name]}"
        alone = gate["limit"] in ("at_most", "at_least")
        yield name, gate["outcome"]
        yield f"{name}.{'value' if alone else 'delta'}", gate["delta"]
        yield f"{name}.interval", "{} {}".format(*gate["interval"])


def log_of(report: object) -> TestLog | None:
    """Return what a test left on its report."""
    plain = getattr(report, "calbench", None)
    if plain is None:
        return None
    return TestLog(**{name: value for name, value in plain.items() if name != "inconclusive"})


def by_a_gate(report: object) -> bool:
    """Whether a test that failed did so because of a gate, and not of an error."""
    log = log_of(report)
    return log is not None and log.by_gate


def is_undecided(plain: Mapping[str, Any]) -> bool:
    """Whether some gate of a test is inconclusive and none of them failed."""
    gates = [
        gate for part in ("rows", "arms", "comparisons") for each in plain[part] for gate in each["gates"]
    ]
    outcomes = {gate["outcome"] for gate in gates if not gate["accepted"]}
    return "inconclusive" in outcomes and "fail" not in outcomes
