"""Gates on the user's own arrays and records, which are no cells: counted, and said in a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Comparison = Mapping[str, Any]
# The two sides of a comparison of two, which need not be named.
_PLAIN = ((None, None), ("candidate", "reference"), ("candidate", ""))
_ORDER = ("fail", "inconclusive", "pass")


def gate_lines(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Return each gate's outcome and what it decided, as it is in ``comparisons`` of a document."""
    return [(gate["outcome"], _line(c, gate)) for c in comparisons for gate in c["gates"]]


def as_comparisons(rows: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Return rows of variants as comparisons, whose gates are counted and said like any others."""
    return [
        {"name": f"{row['model']} on {row['task']}, {row['quantizer']}", "gates": row["gates"]}
        for row in rows
    ]


def worst_first(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the lines of :func:`gate_lines` with failures first."""
    return sorted(lines, key=lambda line: _ORDER.index(line[0]))


def counted(lines: Sequence[tuple[str, str]]) -> str:
    """Say how many of the gates failed, stayed open and passed."""
    counts = Counter(outcome for outcome, _ in lines)
    return (
        f"{counts['fail']} failed, {counts['inconclusive']} inconclusive, {counts['pass']} passed,"
        f" of {len(lines):,} gates on arrays, records and variants."
    )


def _line(comparison: Comparison, gate: Mapping[str, Any]) -> str:
    alone = gate["limit"] in ("at_most", "at_least")
    sign = "" if alone else "+"
    value, low, high = (f"{float(v):{sign}.4f}" for v in (gate["delta"], *gate["interval"]))
    what = gate["metric"] if alone else f"Δ {gate['metric']}"
    if (gate.get("candidate"), gate.get("reference")) not in _PLAIN:
        what += f" of {gate['candidate']}" + (f" against {gate['reference']}" if gate["reference"] else "")
    accepted = f" (accepted: {gate['accepted']})" if gate["accepted"] else ""
    return (
        f"{comparison['name']}: {what} = {value} [{low}, {high}],"
        f" {gate['limit']}={float(gate['margin']):g}, n = {gate['n']:,}{accepted}"
    )
