"""``calbench threshold``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import (
    SEED,
    UNDECIDED,
    AsJson,
    FileFormat,
    Format,
    Seed,
    StoreFolder,
    read_record,
)
from calbench.cli._output import print_json

if TYPE_CHECKING:
    from calbench.metrics import Outcomes
    from calbench.records import AnyRecord, ColumnNames


@app.command()
@reads_tables
def threshold(
    record: Annotated[Path, typer.Argument(help="Predictions: a file, a folder, or a stored record.")],
    *,
    columns: ColumnNames,
    file_format: Format = FileFormat.auto,
    at_most: Annotated[float, typer.Option(help="Promised error rate among answers that are kept.")] = 0.05,
    level: Annotated[float, typer.Option(help="Chance, at least, that the promise holds.")] = 0.95,
    calibrator: Annotated[
        str, typer.Option(help="Calibrate first; the items that it is fitted on are not judged.")
    ] = "identity",
    fit_on: Annotated[
        Path | None,
        typer.Option(help="Fit it on these predictions of the same items, such as the reference's."),
    ] = None,
    seed: Seed = SEED,
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """Find the lowest confidence threshold that is shown to keep a promise about errors; 3 if none is.

    Thresholds are tested in an order that is fixed beforehand, so that the promise holds with the level's
    chance although the same answers chose the threshold.

    Example: calbench threshold int4.parquet --at-most 0.05

    Example: calbench threshold int4.parquet --calibrator temperature --fit-on fp32.parquet
    """
    from dataclasses import asdict

    from calbench.statistics import STARTS, promised

    read = partial(read_record, columns=columns, file_format=file_format, store=store)
    judged = read(record)
    outcomes = _outcomes(judged, judged if fit_on is None else read(fit_on), calibrator, seed)
    found = promised(outcomes.confidences, outcomes.correct, at_most=at_most, level=level)
    if as_json:
        known = None if found is None else {**asdict(found), "coverage": found.coverage, "risk": found.risk}
        asked = {"record": str(record), "calibrator": calibrator, "at_most": at_most, "level": level}
        print_json({**asked, "found": known})
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


def _outcomes(judged: AnyRecord, fitted_on: AnyRecord, calibrator: str, seed: int) -> Outcomes:
    from calbench.gates import transfer

    return transfer(fitted_on, judged, calibrator, seed=seed).arm("transferred").outcomes
