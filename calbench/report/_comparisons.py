"""Gates on the user's own arrays and records, which are no cells: counted, and said in a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from calbench.gates import Gate
from calbench.report._format import ComparisonRow, VariantsRow

# The two sides of a comparison of two, which need not be named.
_PLAIN = (("candidate", "reference"), ("candidate", ""))
_ORDER = ("fail", "inconclusive", "pass")


def gate_lines(comparisons: Sequence[ComparisonRow]) -> list[tuple[str, str]]:
    """Return each gate's outcome and what it decided, as it is in ``comparisons`` of a document."""
    return [(gate["outcome"], _line(c, gate)) for c in comparisons for gate in c["gates"]]


def as_comparisons(rows: Sequence[VariantsRow]) -> list[ComparisonRow]:
    """Return rows of variants as comparisons, whose gates are counted and said like any others."""
    return [
        {
            "name": f"{row['model']} on {row['task']}, {row['quantizer']}",
            "n_test": row["n_test"],
            "level": row["level"],
            "gates": row["gates"],
        }
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


def _line(comparison: ComparisonRow, gate: Gate) -> str:
    alone = gate["limit"] in ("at_most", "at_least")
    sign = "" if alone else "+"
    value, low, high = (f"{v:{sign}.4f}" for v in (gate["delta"], *gate["interval"]))
    what = gate["metric"] if alone else f"Δ {gate['metric']}"
    if (gate["candidate"], gate["reference"]) not in _PLAIN:
        what += f" of {gate['candidate']}" + (f" against {gate['reference']}" if gate["reference"] else "")
    accepted = f" (accepted: {gate['accepted']})" if gate["accepted"] else ""
    return (
        f"{comparison['name']}: {what} = {value} [{low}, {high}],"
        f" {gate['limit']}={gate['margin']:g}, n = {gate['n']:,}{accepted}"
    )
