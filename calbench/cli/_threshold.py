"""``calbench threshold``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from calbench.cli._output import print_json, say

if TYPE_CHECKING:
    from calbench.metrics import Outcomes
    from calbench.records import AnyRecord, ColumnNames


@app.command()
@reads_tables
def threshold(
    records: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECORD...",
            help="Predictions: files, folders or stored records; several are parts of one.",
        ),
    ],
    *,
    columns: ColumnNames,
    file_format: Format = FileFormat.auto,
    at_most: Annotated[float, typer.Option(help="Promised error rate among answers that are kept.")] = 0.05,
    level: Annotated[float, typer.Option(help="Chance, at least, that the promise holds.")] = 0.95,
    calibrator: Annotated[
        str, typer.Option(help="Calibrate first; the items that it is fitted on are not judged.")
    ] = "identity",
    fit_on: Annotated[
        list[Path] | None,
        typer.Option(
            help="Fit it on these predictions of the same items, such as the reference's; repeatable."
        ),
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

    Example: calbench threshold minilm::movie::fp32 minilm::movie::fp32::2200-3500   (later looks too)
    """
    from dataclasses import asdict

    from calbench.statistics import STARTS, promised, promises

    read = partial(read_record, columns=columns, file_format=file_format, store=store)
    judged = [read(record) for record in records]
    fitted_on = [read(record) for record in fit_on] if fit_on else judged
    outcomes = _outcomes(judged, fitted_on, calibrator, seed)
    answers = outcomes.confidences, outcomes.correct
    found = promised(*answers, at_most=at_most, level=level)
    starts = promises(*answers, at_most=at_most, thresholds=STARTS)
    nearest = min(starts, key=lambda each: each.p_value)
    if as_json:
        known = None if found is None else {**asdict(found), "coverage": found.coverage, "risk": found.risk}
        asked = {
            "records": list(map(str, records)),
            "calibrator": calibrator,
            "at_most": at_most,
            "level": level,
        }
        print_json({**asked, "found": known, "nearest": {**asdict(nearest), "coverage": nearest.coverage}})
    elif found is None:
        typer.echo(
            f"no threshold from 0.99 to 0.50 is shown to keep errors at or below {at_most:.1%}"
            f" ({len(outcomes):,} answers; the nearest of those that are tried first: {nearest.threshold:g},"
            f" {nearest.n_wrong:,} of {nearest.n_kept:,} wrong, at most"
            f" {nearest.upper((1 - level) / len(STARTS)):.2%}); more answers may show it"
        )
        for further in _further(records, store):
            say(f"note: the store has more answers: add {further}")
    else:
        upper = found.upper((1 - level) / len(STARTS))
        typer.echo(
            f"threshold {found.threshold:g}: keeps {found.coverage:.1%} of {found.n:,} answers,"
            f" {found.n_wrong:,} of {found.n_kept:,} wrong ({found.risk:.2%}, at most {upper:.2%});"
            f" promised {at_most:.1%} with {level:.0%} confidence"
        )
    if found is None:
        raise typer.Exit(UNDECIDED)


def _outcomes(
    judged: Sequence[AnyRecord], fitted_on: Sequence[AnyRecord], calibrator: str, seed: int
) -> Outcomes:
    """Return the calibrated answers of records that are one, fitted on items of the first part alone."""
    from calbench.gates import division, n_calibration_of, transfer
    from calbench.records import one_record

    fitted_ids = None  # of one record, what transfer draws
    if len(fitted_on) > 1:
        ids, n_calibration = fitted_on[0].item_ids.tolist(), n_calibration_of(fitted_on[0])
        fitted_ids = division(ids, calibrator, n_calibration=n_calibration, seed=seed).calibration or None
    reference, candidate = (
        one_record(parts) if len(parts) > 1 else parts[0] for parts in (fitted_on, judged)
    )
    moved = transfer(reference, candidate, calibrator, calibration_ids=fitted_ids, seed=seed)
    return moved.arm("transferred").outcomes


def _further(records: Sequence[Path], store: str | None) -> Iterator[str]:
    """Return the names of stored records that hold further items of the same answers."""
    from calbench.store import Store, listed

    if any(record.exists() for record in records):
        return
    there = listed(Store.at(store))
    asked = [one for one in there for r in map(str, records) if one.name == r or one.key.startswith(r)]
    known = sum(one.n_items for one in asked)
    for one in sorted(there, key=lambda one: one.n_items):
        base, _, part = one.name.rpartition("::")
        if part.startswith(f"{known}-") and base in {one.name for one in asked}:
            known += one.n_items
            yield one.name
