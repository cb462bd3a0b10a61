"""A comparison at a glance: as text, as markdown, and in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from tabulate import tabulate

from calbench.errors import CalbenchError
from calbench.statistics import Change

if TYPE_CHECKING:
    from calbench.gates._comparison import Comparison

_SHOWN = ("ece", "nll", "brier", "brier_toplabel", "accuracy")
_MAX_METRICS = 4


def table(comparison: Comparison) -> list[dict[str, str]]:
    """Return a row for each of at most four metrics: both values, and the change with its interval."""
    shown = [metric for metric in _SHOWN if metric in comparison.metrics][:_MAX_METRICS]
    head = f"n = {comparison.n_test:,}"
    level = f"change [{comparison.level:.0%} interval]"
    found = [(metric, comparison.difference(metric)) for metric in shown]
    return [
        {
            head: metric,
            comparison.reference: value(change.reference_value),
            comparison.candidate: value(change.candidate_value),
            level: with_interval(change),
        }
        for metric, change in found
    ]


def value(number: float | None) -> str:
    """Return a metric's value in four digits; ``""`` if there is none."""
    return "" if number is None else f"{number:.4f}"


def with_interval(change: Change) -> str:
    """Return a change with its interval."""
    low, high = change.interval
    return f"{change.value:+.4f} [{low:+.4f}, {high:+.4f}]"


def as_text(comparison: Comparison) -> str:
    """Return at most five lines; the names of the arms where no two of them are compared by themselves."""
    try:
        rows = table(comparison)
    except CalbenchError:
        return f"comparison of {', '.join(comparison.arms.names)} on {comparison.n_test:,} items"
    shown: str = tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True)
    return shown


def as_html(comparison: Comparison) -> str:
    """Return a small table for a notebook; names are shown, not obeyed."""
    try:
        rows = table(comparison)
    except CalbenchError:
        return f"<p>{escape(as_text(comparison))}</p>"
    return f"<table><thead>{_row(rows[0], 'th')}</thead><tbody>{''.join(map(_cells, rows))}</tbody></table>"


def _cells(row: dict[str, str]) -> str:
    return _row(row.values(), "td")


def _row(texts: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(text)}</{tag}>' for text in texts)}</tr>"
