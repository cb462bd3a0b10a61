"""``calbench rank``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import AsJson
from calbench.cli._output import print_json


@app.command()
def rank(
    results: Annotated[Path, typer.Argument(help="results.json of a run.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print which calibrators and which quantizers are best over all cells of a run.

    By NLL and Brier score, on the same items for all; with rank intervals, wins, ties and losses, what became
    of the gates, and the mean difference over tasks.

    Example: calbench rank report/results.json
    """
    from calbench import report
    from calbench.errors import InputError

    found = report.read_results(results)
    tables = found.get("rankings") or {}
    if not found["cells"]:
        raise InputError(f"{results}: holds no cells: nothing was measured; see what failed in that run")
    if not tables:
        raise InputError(
            f"{results}: holds no rankings; they need two calibrators or two quantizers in the same cells,"
            " and a run of this version (pytest --calbench-report)"
        )
    if as_json:
        print_json(tables)
    else:
        typer.echo(report.rankings_markdown(tables))
