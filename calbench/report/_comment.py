"""A summary that fits a comment on a pull request: what failed first, and never too long to be posted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tabulate import tabulate

from calbench.escaping import markdown_text
from calbench.report._comparisons import Comparison, counted, gate_lines
from calbench.report._leaderboard import is_reference, verdict_text
from calbench.report._results import Row, hurts, verdict

MAX_CHARACTERS = 60_000  # the largest host takes 65,536
_MAX_GATES, _MAX_LINE = 50, 500
_ORDER = {"fail": 0, "inconclusive": 1, "pass": 2, "": 3}
_MARK = {"fail": "❌", "inconclusive": "❔", "pass": "✅", "": ""}


def comment(
    rows: Sequence[Row], *, comparisons: Sequence[Comparison] = (), limit: int = MAX_CHARACTERS
) -> str:
    """Return counts, the failed gates on arrays, then the cells from the worst verdict on, as many as fit.

    Parameters
    ----------
    rows
        As :func:`calbench.report.merge` returns them.
    comparisons
        Of arrays and records, with their gates, as a document has them.
    limit
        Of characters.
    """
    counts = Counter(verdict(row) for row in rows)
    hurt = sum(hurts(row) == "yes" for row in rows)
    count = (
        f"{counts['fail']} failed, {counts['inconclusive']} inconclusive, {counts['pass']} passed,"
        f" of {len(rows):,} cells, by the worst of each cell's gates."
        + (f" In {hurt} the transferred calibrator makes ECE worse than none (▼)." if hurt else "")
    )
    gates = gate_lines(comparisons)
    head = ["### Calibration after quantization", ""]
    if rows or not gates:
        head += [count, ""]
    if gates:
        head += [counted(gates), "", *_failed(gates)]
    moved = [row for row in rows if not is_reference(row)]
    ordered = sorted(moved, key=lambda row: (_ORDER[verdict(row)], -row["degradation"]["ece"]["value"]))
    n_shown = len(ordered)
    while True:
        text = "\n".join([*head, *_body(ordered[:n_shown]), *_rest(len(ordered) - n_shown)]) + "\n"
        if len(text) <= limit or n_shown == 0:
            return text
        n_shown = min(n_shown - 1, int(n_shown * limit / len(text)))


def _failed(gates: Sequence[tuple[str, str]]) -> list[str]:
    lines = [f"* ❌ {markdown_text(line)[:_MAX_LINE]}" for outcome, line in gates if outcome == "fail"]
    left_out = len(lines) - _MAX_GATES
    more = [f"* {left_out:,} more are in report.html."] if left_out > 0 else []
    return [*lines[:_MAX_GATES], *more, ""] if lines else []


def _body(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    table = tabulate([_line(row) for row in rows], headers="keys", tablefmt="github", disable_numparse=True)
    return [table, ""]


def _line(row: Row) -> dict[str, str]:
    names = (row["model"], row["task"], row["quantizer"], row["calibrator"])
    change = row["degradation"]["ece"]
    low, high = change["interval"]
    return {
        "": _MARK[verdict(row)],
        "cell": " · ".join(map(markdown_text, names)),
        "raw ECE": f"{row['arms']['raw_candidate']['ece']['value']:.3f}",
        "transferred": f"{row['arms']['transferred']['ece']['value']:.3f}",
        "Δ ECE": f"{change['value']:+.3f} [{low:+.3f}, {high:+.3f}]",
        "verdict": verdict_text(row),
    }


def _rest(n_left_out: int) -> list[str]:
    return [f"{n_left_out:,} more cells are in report.html and leaderboard.csv.", ""] if n_left_out else []
