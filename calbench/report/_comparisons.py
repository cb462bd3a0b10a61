"""Gates on the user's own arrays and records, which are no cells: counted, and said in a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Comparison = Mapping[str, Any]
_ORDER = ("fail", "inconclusive", "pass")


def gate_lines(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Return each gate's outcome and what it decided, as it is in ``comparisons`` of a document."""
    return [(gate["outcome"], _line(c, gate)) for c in comparisons for gate in c["gates"]]


def worst_first(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the lines of :func:`gate_lines` with failures first."""
    return sorted(lines, key=lambda line: _ORDER.index(line[0]))


def counted(lines: Sequence[tuple[str, str]]) -> str:
    """Say how many of the gates failed, stayed open and passed."""
    counts = Counter(outcome for outcome, _ in lines)
    return (
        f"{counts['fail']} failed, {counts['inconclusive']} inconclusive, {counts['pass']} passed,"
        f" of {len(lines):,} gates on arrays and records."
    )


def _line(comparison: Comparison, gate: Mapping[str, Any]) -> str:
    sign = "+" if gate["reference_value"] is not None else ""
    value, low, high = (f"{float(v):{sign}.4f}" for v in (gate["delta"], *gate["interval"]))
    what = f"Δ {gate['metric']}" if sign else gate["metric"]
    accepted = f" (accepted: {gate['accepted']})" if gate["accepted"] else ""
    return (
        f"{comparison['name']}: {what} = {value} [{low}, {high}],"
        f" {gate['limit']}={float(gate['margin']):g}, n = {gate['n']:,}{accepted}"
    )
