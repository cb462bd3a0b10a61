"""What the gates of a run come to, in a few lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calbench._pytest._baseline_update import UPDATE
from calbench._pytest._log import TestLog
from calbench._pytest._options import Options
from calbench.gates import Gate
from calbench.report import Row
from calbench.report import gate_lines as comparison_gates
from calbench.statistics import expected_false_alarms

_MAX_NAMED = 10


@dataclass(frozen=True)
class Line:
    """One line of the summary."""

    text: str
    is_warning: bool = False


def gate_lines(gates: Sequence[Gate], options: Options) -> list[Line]:
    """Count the outcomes, say how many failures chance explains and how many items would decide."""
    if not gates:
        return []
    counts = Counter(gate["outcome"] for gate in gates)
    n_accepted = sum(gate["accepted"] is not None for gate in gates)
    lines = [
        Line(
            f"gates: {counts['pass']} passed, {counts['fail']} failed, {counts['inconclusive']} inconclusive"
            + (f"; {n_accepted} accepted" if n_accepted else "")
        ),
        Line(_by_chance(gates, options)),
    ]
    needed = sorted(
        gate["items_needed"] for gate in gates if gate["outcome"] == "inconclusive" and gate["items_needed"]
    )
    if needed and options.inconclusive != "pass":
        where = " (items_needed in results.json)" if options.report else ""
        text = f"inconclusive: too few test items to tell; {_deciding(needed, counts['inconclusive'])}{where}"
        lines.append(Line(text, is_warning=True))
    return lines


def undecided_lines(gates: Sequence[Gate], options: Options) -> list[Line]:
    """Name what is undecided, the nearest to a decision first, with what would decide it."""
    still = [gate for gate in gates if gate["outcome"] == "inconclusive" and not gate["accepted"]]
    if options.inconclusive == "pass" or not still:
        return []
    still.sort(key=lambda gate: gate["items_needed"] or math.inf)
    lines = []
    for gate in still[:_MAX_NAMED]:
        needed = gate["items_needed"]
        what = f"about {needed:,} items would decide it" if needed else "more items, or another limit"
        name = gate["test"].split("::", 1)[-1]
        lines.append(Line(f"? {name}: {gate['metric']} {gate['limit']}={gate['margin']:g}: {what}"))
    if len(still) > _MAX_NAMED:
        lines.append(
            Line(f"? and {len(still) - _MAX_NAMED} more" + (", in report/" if options.report else ""))
        )
    return lines


def stale_lines(stale: Sequence[tuple[str, str, bool]]) -> list[Line]:
    """Say which accepted globs accept nothing."""
    return [
        Line(
            f"accepted {glob!r} of {test} "
            + ("accepts nothing: all its gates pass; delete it" if fits else "fits no cell; correct it")
            + " (an error)",
            is_warning=True,
        )
        for test, glob, fits in stale
    ]


def _deciding(needed: Sequence[int], n_open: int) -> str:
    """Say how many items would decide the open gates; ``needed``, sorted, is known of some or all.

    >>> _deciding([1676, 7606], 2)
    'about 1,676 to 7,606 would decide them one by one, half of them with 1,676 or fewer'
    >>> _deciding([2332], 1)
    'about 2,332 would decide it'
    """
    if n_open == 1:
        return f"about {needed[0]:,} would decide it"
    which = "them" if len(needed) == n_open else f"{len(needed)} of them"
    if needed[0] == needed[-1]:
        return f"about {needed[0]:,} would decide {which}"
    half = needed[(len(needed) - 1) // 2]
    return (
        f"about {needed[0]:,} to {needed[-1]:,} would decide {which} one by one,"
        f" half of them with {half:,} or fewer"
    )


def harm_lines(rows: Sequence[Row]) -> list[Line]:
    """Say where a calibrator makes things worse."""
    hurt = sum(row["benefit"]["ece"]["interval"][1] < 0 for row in rows)
    if not hurt:
        return []
    text = f"in {hurt} of {len(rows)} cells the transferred calibrator makes ECE worse than none (▼)"
    return [Line(text, is_warning=True)]


def skip_lines(logs: Sequence[TestLog]) -> list[Line]:
    """Say which quantizers' cells did not run, and why: pytest counts skips but hides the reasons."""
    counts = Counter(tuple(skip) for log in logs for skip in log.skipped)
    return [
        Line(
            f"calbench skipped {count} {'cell' if count == 1 else 'cells'} of {quantizer}: {reason}",
            is_warning=True,
        )
        for (quantizer, reason), count in counts.items()
    ]


def unasked_lines(n_unasked: int) -> list[Line]:
    """Say that requirements were left out because no baseline was named."""
    if not n_unasked:
        return []
    text = (
        f"{n_unasked} requirements against a baseline were not asked: name one with --calbench-baseline DIR"
    )
    return [Line(text + f" ({UPDATE} makes it)")]


def comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Show each gate on the user's own records."""
    return [f"{outcome:<12} {line}" for outcome, line in comparison_gates(comparisons)]


def _by_chance(gates: Sequence[Gate], options: Options) -> str:
    expected = expected_false_alarms(gate["level"] for gate in gates)
    if options.correction == "holm":
        return (
            f"false alarms: with Holm's correction the chance of any among these {len(gates)} is at most"
            f" {1 - min(gate['level'] for gate in gates):.0%}"
        )
    return (
        f"false alarms: of {len(gates)} gates at most {expected:.1f} may be expected to fail by chance"
        " (--calbench-correction=holm bounds the chance of any)"
    )
