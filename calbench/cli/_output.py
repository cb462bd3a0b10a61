"""What commands print: tables, JSON, and notes on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from calbench.errors import InputError
from calbench.escaping import markdown_text, plain_json, printable

# Of a table that goes into a file or a pipe, whose lines nothing has to fold.
_WIDTH = 200


def plain(estimate: Any) -> dict[str, Any]:
    """An estimate as plain JSON."""
    return {
        "value": estimate.value,
        "interval": estimate.interval,
        "level": estimate.level,
    }


def interval(estimate: Any) -> str:
    """An estimate's interval as text."""
    low, high = (bound + 0.0 for bound in estimate.interval)  # not -0.0
    return f"[{low:.4f}, {high:.4f}]"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; all columns but the first are numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, not markup: a file may be called [red].
    shown = Table(title=Text(printable(title)) if title else None, title_justify="left")
    for i, column in enumerate(columns):
        # Where a terminal is narrow, values are folded; what they are of is read whole.
        widest = max(map(len, column.split()), default=1)
        shown.add_column(
            Text(printable(column)), justify="right" if i else "left", min_width=widest, overflow="fold"
        )
    for row in rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    folds = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if folds else _WIDTH).print(shown)


def markdown_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print what :func:`table` takes as a comment on a pull request shows it."""
    from tabulate import tabulate

    shown = [[markdown_text(cell) for cell in row] for row in rows]
    headers = [markdown_text(column) for column in columns]
    typer.echo(f"{markdown_text(title)}\n")
    typer.echo(tabulate(shown, headers=headers, tablefmt="github", disable_numparse=True))


def shown_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of itself, without what it says of each item."""
    return {name: value for name, value in metadata.items() if name != "item_hashes"}


def origin_notes(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Say what a reader of a record's numbers must know about how it was read."""
    mapped = metadata.get("columns")
    if isinstance(mapped, Mapping) and "answers" in mapped:
        yield f"right is what {mapped['answers']} says"
    notes = metadata.get("notes")
    yield from map(str, notes if isinstance(notes, list) else ())
    if metadata.get("n_unscored_samples"):
        yield f"{metadata['n_unscored_samples']} samples without a score were left out"


def refuse_overwriting(output: Path, sources: Iterable[Path | None]) -> None:
    """Raise :class:`InputError` if a file that is read would be written."""
    for source in filter(None, sources):
        if source.exists() and output.exists() and output.samefile(source):
            raise InputError(f"{output}: is what is read, and would be overwritten; name another --output")


def json_text(contents: Any) -> str:
    """Return plain JSON."""
    return json.dumps(plain_json(contents), indent=2, allow_nan=False)


def print_json(contents: Any) -> None:
    """Print plain JSON on standard output."""
    typer.echo(json_text(contents))


def say(message: str) -> None:
    """Print a note on standard error."""
    typer.echo(printable(message), err=True)
