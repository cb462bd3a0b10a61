"""A report's folder: the same results for people, spreadsheets, programs and pull requests."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from calbench.cache import replacing
from calbench.report._arms import arms_markdown
from calbench.report._comment import comment
from calbench.report._comparisons import as_comparisons
from calbench.report._csv_table import csv_table
from calbench.report._evidence import evidence
from calbench.report._format import Results
from calbench.report._html import html_page
from calbench.report._leaderboard import markdown
from calbench.report._rankings import rankings_markdown
from calbench.report._results import write_json


def write(
    folder: str | PathLike[str], document: Results, *, title: str = "calbench leaderboard"
) -> list[Path]:
    """Write a report, each file in one step, and return its files.

    ``leaderboard.md`` has every table, ``comment.md`` fits a comment on a pull request,
    ``leaderboard.csv`` one row a cell, ``arms.md`` the arms of tuning if there are any, ``results.json``
    everything, ``report.html`` shows it, and ``evidence.json`` is what ``calbench verify`` recomputes.

    Parameters
    ----------
    folder
        Made if it is not there.
    document
        As :func:`calbench.report.document` or :func:`calbench.report.read_results` returns it.
    title
        Of the page.
    """
    folder = Path(folder)
    rows, variants = document["cells"], document.get("variants", ())
    others = [*document.get("comparisons", ()), *as_comparisons(variants)]
    texts = {
        "leaderboard.md": markdown(rows) + rankings_markdown(document.get("rankings", {})),
        "comment.md": comment(rows, comparisons=others, errors=document.get("errors", ())),
        "leaderboard.csv": csv_table(rows),
        "report.html": html_page(document, title=title),
        **({"arms.md": arms_markdown(variants)} if variants else {}),
    }
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(document, folder / "results.json")
    write_json(evidence(document, results=folder / "results.json"), folder / "evidence.json")
    return [folder / name for name in (*texts, "results.json", "evidence.json")]
