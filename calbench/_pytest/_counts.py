"""What the gates of a run come to, in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calbench._pytest._baseline_update import UPDATE
from calbench._pytest._log import TestLog
from calbench._pytest._options import Options
from calbench.escaping import printable
from calbench.report import MAX_ITEMS, Judged, Row, by_quantizer, failed, undecided
from calbench.statistics import expected_false_alarms

# All together at most 40 lines: what does not fit is counted, and in the report.
_MAX_QUANTIZERS, _MAX_FAILED, _MAX_UNDECIDED, _MAX_SKIPPED, _MAX_STALE, _MAX_PASSED = 6, 8, 6, 2, 2, 5
_ARRAYS = "(own arrays)"


@dataclass(frozen=True)
class Line:
    """One line of the summary."""

    text: str
    is_warning: bool = False


def verdict_lines(gates: Sequence[Judged], options: Options, *, all_of_them: bool = False) -> list[Line]:
    """Count the outcomes, by quantizer as well, and name what failed and what stays open.

    Parameters
    ----------
    gates
        Of the whole run.
    options
        What becomes of inconclusive gates, and whether there is a report to look into.
    all_of_them
        Whether to name every gate, and not only as many as fit a screen.
    """
    if not gates:
        return []
    counts = Counter(each.outcome for each in gates)
    n_accepted = sum(each.is_accepted for each in gates)
    lines = [
        Line(
            f"gates: {counts['pass']} passed, {counts['fail']} failed, {counts['inconclusive']} inconclusive"
            + (f"; {n_accepted} accepted" if n_accepted else "")
        ),
        *_quantizer_lines(gates, all_of_them=all_of_them),
    ]
    where = "in report.html" if options.report else "with -v"
    broken = [Line(f"FAILED {each.said()}", is_warning=True) for each in failed(gates)]
    lines += broken if all_of_them else shortened(broken, _MAX_FAILED, f"FAILED and {{}} more, {where}")
    if options.inconclusive != "pass":
        still = undecided(gates)
        named = [Line(f"? {each.said()}: {each.remedy()}") for each in still]
        lines += named if all_of_them else shortened(named, _MAX_UNDECIDED, f"? and {{}} more, {where}")
        lines += _all_undecided(still)
    if len(gates) <= _MAX_PASSED or all_of_them:
        lines += [
            Line(f"passed {printable(each.subject)}: {each.within()}, n = {each.gate['n']:,}")
            for each in gates
            if each.outcome == "pass"
        ]
    return [*lines, Line(_by_chance(gates, options))]


def headline(gates: Sequence[Judged], options: Options, *, n_broken: int = 0) -> str:
    """Return the verdict on the whole run in a few words; ``n_broken`` tests failed, but not by a gate."""
    n_failed, n_open = len(failed(gates)), len(undecided(gates))
    if n_broken:
        of_gates = f", {n_failed} of {len(gates)} gates FAILED" if n_failed else ""
        return f"{n_broken} {'test' if n_broken == 1 else 'tests'} FAILED by an error{of_gates}"
    if n_failed:
        return f"{n_failed} of {len(gates)} gates FAILED"
    n_accepted = sum(each.is_accepted for each in gates)
    if n_open and options.inconclusive != "pass":
        besides = f" but {n_accepted} accepted" if n_accepted else ""
        return f"nothing failed{besides}, {n_open} of {len(gates)} gates UNDECIDED"
    but = f" or are accepted ({n_accepted})" if n_accepted else ""
    if options.inconclusive == "pass" and n_open:
        but = f", or are undecided ({n_open})" + but
    return f"all {len(gates)} gates hold{but}" if gates else "no gates"


def shortened(lines: Sequence[Line], limit: int, more: str) -> list[Line]:
    """Return the first lines, and how many there are besides.

    >>> shortened([Line("a"), Line("b"), Line("c")], 1, "and {} more")
    [Line(text='a', is_warning=False), Line(text='and 2 more', is_warning=False)]
    """
    if len(lines) <= limit + 1:  # the line that counts one takes as much room as the one
        return list(lines)
    return [*lines[:limit], Line(more.format(len(lines) - limit), lines[0].is_warning)]


def _quantizer_lines(gates: Sequence[Judged], *, all_of_them: bool) -> list[Line]:
    """Return a line a quantizer, the worst first; none where there is one or none."""
    counts = by_quantizer(gates)
    if len(counts) < 2:
        return []
    width = max(len(name or _ARRAYS) for name in counts)
    lines = [
        Line(
            f"  {printable(name or _ARRAYS):<{width}}  {found['pass']:>5} passed {found['fail']:>5} failed"
            f" {found['inconclusive']:>5} inconclusive"
        )
        for name, found in counts.items()
    ]
    return lines if all_of_them else shortened(lines, _MAX_QUANTIZERS, "  and {} more quantizers")


def _all_undecided(still: Sequence[Judged]) -> list[Line]:
    """Say how many items would decide what is undecided, if that is more than one gate."""
    needed = sorted(n for each in still if (n := each.gate["items_needed"]) and n <= MAX_ITEMS)
    if len(still) < 2 or not needed:
        return []
    return [Line(f"inconclusive: too few test items to tell; {_deciding(needed, len(still))}")]


def stale_lines(stale: Sequence[tuple[str, str, bool]]) -> list[Line]:
    """Say which accepted globs accept nothing."""
    lines = [
        Line(
            f"accepted {glob!r} of {test} "
            + ("accepts nothing: all its gates pass; delete it" if fits else "fits no cell; correct it")
            + " (an error)",
            is_warning=True,
        )
        for test, glob, fits in stale
    ]
    return shortened(lines, _MAX_STALE, "and {} more accepted globs accept nothing (errors)")


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
    text = f"in {hurt} of {len(rows)} cells the transferred calibrator makes ECE worse than none"
    return [Line(text, is_warning=True)]


def skip_lines(logs: Sequence[TestLog]) -> list[Line]:
    """Say which quantizers' cells did not run, and why: pytest counts skips but hides the reasons."""
    counts = Counter(tuple(skip) for log in logs for skip in log.skipped)
    lines = [
        Line(
            f"calbench skipped {count} {'cell' if count == 1 else 'cells'} of {quantizer}: {reason}",
            is_warning=True,
        )
        for (quantizer, reason), count in counts.items()
    ]
    return shortened(lines, _MAX_SKIPPED, "and {} more reasons why cells were skipped (pytest -rs)")


def left_out_lines(left_out: Mapping[str, int]) -> list[Line]:
    """Say how many tests were left out because of a mark, and how to run them.

    >>> left_out_lines({"training": 12})
    [Line(text='12 deselected: training; run with -m training', is_warning=False)]
    """
    return [Line(f"{count} deselected: {mark}; run with -m {mark}") for mark, count in left_out.items()]


def unasked_lines(n_unasked: int) -> list[Line]:
    """Say that requirements were left out because no baseline was named."""
    if not n_unasked:
        return []
    text = (
        f"{n_unasked} requirements against a baseline were not asked: name one with --calbench-baseline DIR"
    )
    return [Line(text + f" ({UPDATE} makes it)")]


def _by_chance(gates: Sequence[Judged], options: Options) -> str:
    expected = expected_false_alarms(each.gate["level"] for each in gates)
    if options.correction == "holm":
        return (
            f"false alarms: with Holm's correction the chance of any among these {len(gates)} is at most"
            f" {1 - min(each.gate['level'] for each in gates):.0%}"
        )
    return (
        f"false alarms: of {len(gates)} gates at most {expected:.1f} may be expected to fail by chance"
        " (--calbench-correction=holm bounds the chance of any)"
    )
