"""``calbench threshold``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import UNDECIDED, AsJson, FileFormat, Format, StoreFolder, read_record
from calbench.cli._output import print_json

if TYPE_CHECKING:
    from calbench.records import ColumnNames


@app.command()
@reads_tables
def threshold(
    record: Annotated[Path, typer.Argument(help="Predictions: a file, a folder, or a stored record.")],
    *,
    columns: ColumnNames,
    file_format: Format = FileFormat.auto,
    at_most: Annotated[float, typer.Option(help="Promised error rate among answers that are kept.")] = 0.05,
    level: Annotated[float, typer.Option(help="Chance, at least, that the promise holds.")] = 0.95,
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """Find the lowest confidence threshold that is shown to keep a promise about errors; 3 if none is.

    Thresholds are tested in an order that is fixed beforehand, so that the promise holds with the level's
    chance although the same answers chose the threshold.

    Example: calbench threshold int4.parquet --at-most 0.05
    """
    from dataclasses import asdict

    from calbench.metrics import Outcomes
    from calbench.statistics import STARTS, promised

    outcomes = Outcomes.from_record(read_record(record, columns, file_format=file_format, store=store))
    found = promised(outcomes.confidences, outcomes.correct, at_most=at_most, level=level)
    if as_json:
        known = None if found is None else {**asdict(found), "coverage": found.coverage, "risk": found.risk}
        print_json({"record": str(record), "at_most": at_most, "level": level, "found": known})
    elif found is None:
        typer.echo(
            f"no threshold from 0.99 to 0.50 is shown to keep errors at or below {at_most:.1%}"
            f" ({len(outcomes):,} answers); more answers may show it"
        )
    else:
        upper = found.upper((1 - level) / len(STARTS))
        typer.echo(
            f"threshold {found.threshold:g}: keeps {found.coverage:.1%} of {found.n:,} answers,"
            f" {found.n_wrong:,} of {found.n_kept:,} wrong ({found.risk:.2%}, at most {upper:.2%});"
            f" promised {at_most:.1%} with {level:.0%} confidence"
        )
    if found is None:
        raise typer.Exit(UNDECIDED)
