"""A summary that fits a comment on a pull request: the verdict, and at most 20 rows of what it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tabulate import tabulate

from calbench.escaping import markdown_text
from calbench.report._format import ComparisonRow, Row
from calbench.report._judged import Judged, failed, judged, undecided
from calbench.report._results import hurts

MAX_BYTES = 6_000
_MAX_NAME = 90
_NOTICEABLE = 0.0005  # what three digits show
_MARK = {"fail": "❌", "inconclusive": "❔", "pass": "✅"}


def comment(
    rows: Sequence[Row],
    *,
    comparisons: Sequence[ComparisonRow] = (),
    errors: Sequence[str] = (),
    limit: int = MAX_BYTES,
) -> str:
    """Return the verdict, what failed, stays open, moved against the baseline, and is accepted.

    Parameters
    ----------
    rows
        As :func:`calbench.report.merge` returns them.
    comparisons
        Of arrays and records, with their gates, as a document has them.
    errors
        Tests that failed by an error and not by a gate, each with what it said.
    limit
        Of bytes; what does not fit is counted.
    """
    gates = judged(rows, comparisons=comparisons)
    for n_shown in (8, 6, 4, 3, 2, 1, 0):
        text = (
            "\n".join([*_head(rows, gates, len(errors)), *_errors(errors, n_shown), *_body(gates, n_shown)])
            + "\n"
        )
        if len(text.encode()) <= limit:
            break
    return text


def _head(rows: Sequence[Row], gates: Sequence[Judged], n_broken: int) -> Iterator[str]:
    counts = Counter(each.outcome for each in gates)
    broken, still = failed(gates), undecided(gates)
    n_accepted = sum(each.is_accepted for each in gates)
    if n_broken:
        of_gates = f", {len(broken)} of {len(gates)} gates failed" if broken else ""
        verdict = f"❌ {n_broken} {'test' if n_broken == 1 else 'tests'} failed by an error{of_gates}"
    elif broken:
        verdict = f"❌ {len(broken)} of {len(gates)} gates failed"
    elif still:
        besides = f" but {n_accepted} accepted" if n_accepted else ""
        verdict = f"❔ nothing failed{besides}, {len(still)} of {len(gates)} gates are inconclusive"
    else:
        but = f" or are accepted ({n_accepted})" if n_accepted else ""
        verdict = f"✅ all {len(gates)} gates hold{but}" if gates else "no gate was asked"
    yield f"### Calibration after quantization: {verdict}"
    yield ""
    hurt = sum(hurts(row) == "yes" for row in rows)
    yield (
        f"{counts['pass']} passed, {counts['fail']} failed, {counts['inconclusive']} inconclusive"
        + (f"; {n_accepted} accepted" if n_accepted else "")
        + (f"; {_levels(gates)} intervals" if gates else "")
        + "."
        + (f" In {hurt} cells the transferred calibrator makes ECE worse than none." if hurt else "")
    )
    yield ""


def _levels(gates: Sequence[Judged]) -> str:
    """Return the level of the intervals shown; those of looks, which share the error, are higher."""
    least, most = (f"{100 * pick(g.gate['interval_level'] for g in gates):.4g}%" for pick in (min, max))
    return least if least == most else f"{least} to {most}"


def _errors(errors: Sequence[str], n_shown: int) -> Iterator[str]:
    if errors:
        yield from ("**Failed by an error**", "")
        yield from (f"- {_short(error)}" for error in errors[:n_shown])
        if len(errors) > n_shown:
            yield f"- {len(errors) - n_shown:,} more"
        yield ""


def _body(gates: Sequence[Judged], n_shown: int) -> Iterator[str]:
    """Return the tables: of failures twice as many rows as of all else, and never more than 20.

    Rows that failures leave are for what is undecided, then for what passed.
    """
    moved = [
        each
        for each in gates
        if each.gate["reference"] == "baseline"
        and each.outcome == "pass"
        and abs(each.gate["delta"]) >= _NOTICEABLE
    ]
    moved.sort(key=lambda each: -abs(each.gate["delta"]))
    asked = sum(each.gate["reference"] == "baseline" for each in gates)
    rest = -(-n_shown // 2)
    broken, still = failed(gates), undecided(gates)
    for_open = rest + n_shown - min(len(broken), n_shown)
    yield from _table("Failed", broken, n_shown)
    yield from _table("Inconclusive, the nearest to a decision first", still, for_open)
    yield from _table("Moved against the baseline, within the limit", moved, rest)
    if asked and not moved:
        yield from (f"{asked:,} gates ask against the baseline; what passed there has not moved.", "")
    accepted = [each for each in gates if each.is_accepted]
    yield from _folded(f"{len(accepted)} accepted", accepted, rest)
    passed = [each for each in gates if each.outcome == "pass" and each not in moved]
    left = for_open - min(len(still), for_open)
    if left:
        yield from _folded(f"{len(passed):,} passed", passed, left)


def _folded(title: str, gates: Sequence[Judged], n_shown: int) -> Iterator[str]:
    if gates:
        yield from (f"<details><summary>{title}</summary>", "")
        yield from _table("", gates, n_shown)
        yield from ("</details>", "")


def _table(title: str, gates: Sequence[Judged], n_shown: int) -> Iterator[str]:
    if not gates:
        return
    if title:
        yield from (f"**{title}**", "")
    shown = gates[:n_shown]
    if shown:
        yield tabulate(map(_line, shown), headers="keys", tablefmt="github", disable_numparse=True)
        yield ""
    if len(gates) > len(shown):
        yield from (f"{len(gates) - len(shown):,} more are in report.html.", "")


def _line(each: Judged) -> Mapping[str, str]:
    gate = each.gate
    sides = gate["reference_value"], gate["candidate_value"]
    values = [f"{value:.3f}" for value in sides if value is not None]
    last = gate["accepted"] or ""
    if each.outcome == "inconclusive" and not last:
        last = each.remedy()
    return {
        "": _MARK[each.outcome],
        "cell": _short(each.subject),
        "metric": _short(each.what()),
        "values": " → ".join(values),
        "change": f"{each.number(gate['delta'])} {markdown_text(each.interval())}",
        "limit": each.number(each.limit),
        "n": each.size(),
        "note": _short(last),
    }


def _short(text: str) -> str:
    return markdown_text(text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 3]}...")
