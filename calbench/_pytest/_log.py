"""What one test leaves behind: plain data that rides on its report, across process borders too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from calbench.report import Row

Gate = dict[str, Any]
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
    """

    __test__ = False  # no test class, whatever its name says

    rows: list[Row] = field(default_factory=list)
    arms: list[Row] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    baselines: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unasked: int = 0

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
        # A gate on arms says what it is about in one text.
        about = ("what",) if "what" in gate else ("limit", "candidate", "reference")
        name = ".".join(filter(None, ("calbench.gate", gate["metric"], *(gate[part] for part in about))))
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name}.{seen[name]}"
        alone = "reference_value" in gate and gate["reference_value"] is None
        yield name, gate["outcome"]
        yield f"{name}.{'value' if alone else 'delta'}", gate["delta"]
        yield f"{name}.interval", "{} {}".format(*gate["interval"])


def log_of(report: object) -> TestLog | None:
    """Return what a test left on its report."""
    plain = getattr(report, "calbench", None)
    return None if plain is None else TestLog(**plain)
