"""``calbench report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import MARGIN, SEED, Resamples, Seed
from calbench.cli._output import say
from calbench.cli._translation import in_options

if TYPE_CHECKING:
    from calbench.records import ColumnNames
    from calbench.report import Results, Settings


@app.command()
@reads_tables
def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="results.json of runs, or records (files, or folders of them) of one or more models."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    title: Annotated[str, typer.Option(help="Of the page.")] = "calbench leaderboard",
    calibrators: Annotated[
        str, typer.Option(help="Of records: calibrators to fit, separated by commas, or all.")
    ] = "identity,temperature",
    reference: Annotated[
        str | None,
        typer.Option(help="Of records: the full-precision quantizer; default fp32, bf16 or fp16."),
    ] = None,
    margin: Annotated[float, typer.Option(help="Of records: by how much ECE may rise.")] = MARGIN,
    *,
    columns: ColumnNames,
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
) -> None:
    """Write a report: one page that works offline, markdown, csv and JSON.

    Example: calbench report report/results.json -o report

    Example: calbench report monday/results.json tuesday/results.json -o both

    Example: calbench report records/ -o report --calibrators temperature,isotonic --reference bf16
    """
    from calbench import report as reports

    if output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output} is a file; name a folder")
    finished = [path for path in results if path.is_file() and _is_results(path)]
    documents = [reports.read_results(path) for path in finished]
    records = [path for path in results if path not in finished]
    if records:
        settings: Settings = {
            "seeds": [seed],
            "n_resamples": n_resamples,
            "level": 0.95,
            "margin": margin,
        }
        documents.append(_measured(records, columns, calibrators, reference, settings))
    for path in reports.write(output, reports.combined(documents), title=title):
        say(str(path))


def _is_results(path: Path) -> bool:
    """Whether a JSON file holds results; records may be JSON as well."""
    if path.suffix != ".json":
        return False
    from calbench.records import json_document

    content = json_document(path)
    return isinstance(content, dict) and "cells" in content and "schema" in content


def _measured(
    paths: list[Path], columns: ColumnNames, calibrators: str, reference: str | None, settings: Settings
) -> Results:
    from calbench import report as reports
    from calbench.runs import Selection, grid_of, read_records

    records = read_records(paths, columns=columns)
    chosen = grid_of(calibrators=calibrators).calibrators(Selection())
    cells = reports.cells_of_records(
        records,
        calibrators=chosen,
        reference=reference,
        margin=settings["margin"],
        seed=settings["seeds"][0],
        n_resamples=settings["n_resamples"],
    )
    for note in cells.notes:
        say(f"note: {in_options(note)}")
    return reports.document(cells.rows, settings=settings, store=cells)
