"""What commands print: tables, JSON, and notes on standard error."""

from __future__ import annotations

import json
import math
from typing import Any

import typer


def plain(estimate: Any) -> dict[str, Any]:
    """An estimate as plain JSON."""
    return {"value": estimate.value, "interval": list(estimate.interval), "level": estimate.level}


def interval(estimate: Any) -> str:
    """An estimate's interval as text."""
    return f"[{estimate.interval[0]:.4f}, {estimate.interval[1]:.4f}]"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; all columns but the first are numbers."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        shown.add_column(column, justify="right" if i else "left")
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)


def finite(value: Any) -> Any:
    """JSON has no infinity: write it as text."""
    if isinstance(value, tuple):
        return [finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def print_json(contents: Any) -> None:
    """Print plain JSON on standard output."""
    typer.echo(json.dumps(contents, indent=2))


def say(message: str) -> None:
    """Print a note on standard error."""
    typer.echo(message, err=True)
