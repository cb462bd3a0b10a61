"""``calbench evaluate``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import (
    SEED,
    Answers,
    AnswersColumn,
    AsJson,
    FileFormat,
    Format,
    Metrics,
    Resamples,
    Seed,
    Tasks,
    class_vectors,
    metric_names,
    named_tasks,
    read_record,
)
from calbench.cli._output import interval, origin_notes, plain, print_json, say, shown_metadata, table

if TYPE_CHECKING:
    from calbench.records import AnyRecord, ColumnNames


class Intervals(str, Enum):
    """Which intervals to print."""

    bounds = "bounds"
    percentile = "percentile"
    bca = "bca"


@app.command()
@reads_tables
def evaluate(
    record: Annotated[
        list[Path],
        typer.Argument(
            help="Predictions: one file, or the samples_*.jsonl of one lm-eval run, or their folder."
        ),
    ],
    *,
    columns: ColumnNames,
    answers: Answers = None,
    answers_column: AnswersColumn = "",
    file_format: Format = FileFormat.auto,
    task: Tasks = "",
    metrics: Metrics = "",
    calibrator: Annotated[str, typer.Option(help="Calibrate first, fitted on --fit-on.")] = "",
    fit_on: Annotated[Path | None, typer.Option(help="Predictions to fit the calibrator on.")] = None,
    apply: Annotated[
        Path | None, typer.Option(help="Calibrate with a fit that was saved as JSON (to_dict).")
    ] = None,
    intervals: Annotated[
        Intervals, typer.Option(help="bounds: the gate's; percentile: as most papers print them; bca.")
    ] = Intervals.bounds,
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    as_json: AsJson = False,
) -> None:
    """Print metrics of stored predictions with 95% intervals.

    Those of calibration errors allow for noise, which only ever raises the measured value: they may
    begin at 0. With --intervals percentile they do not, and miss the truth of a calibrated model.

    Example: calbench evaluate predictions.parquet --metrics ece,smece,nll

    Example: calbench evaluate logits.csv --row-ids --columns confidence=p,correct=hit

    Example: calbench evaluate lm_eval_output/ --json

    Example: calbench evaluate test.pt --row-ids --calibrator temperature --fit-on validation.pt
    """
    from calbench import gates

    predictions = read_record(
        record,
        columns,
        answers=answers,
        answers_column=answers_column,
        file_format=file_format,
        tasks=named_tasks(task),
    )
    if bool(calibrator) != (fit_on is not None) or (apply and fit_on):
        raise typer.BadParameter("give --calibrator and --fit-on together, or --apply alone")
    if fit_on is not None:
        to_fit = read_record(fit_on, columns, file_format=file_format)
        predictions = _calibrated(predictions, _fitted(to_fit, calibrator, seed))
    if apply is not None:
        calibrator = apply.name
        predictions = _calibrated(predictions, _saved(apply))
    wanted = metric_names(metrics, predictions)
    estimates = gates.evaluate(
        predictions, wanted, n_resamples=n_resamples, seed=seed, method=intervals.value
    )
    if as_json:
        return print_json(
            {
                "n": len(predictions),
                "metrics": {n: plain(e) for n, e in estimates.items()},
                "metadata": shown_metadata(predictions.metadata),
            }
        )
    how = f"; {calibrator}" + (f" fitted on {fit_on.name}" if fit_on else "") if calibrator else ""
    more = f" and {len(record) - 1} more" if len(record) > 1 else ""
    say(f"{record[0].name}{more}: {len(predictions):,} items{how}")
    table(
        "",
        ["metric", "value", "95% interval"],
        [[name, f"{e.value:.4f}", interval(e)] for name, e in estimates.items()],
    )
    for note in origin_notes(predictions.metadata):
        say(f"note: {note}")
    return None


def _fitted(fit_on: AnyRecord, calibrator: str, seed: int) -> Any:
    import numpy as np

    from calbench import calibrators
    from calbench.calibrators import CalibrationContext

    record = class_vectors(fit_on)
    context = CalibrationContext(n_classes=record.n_classes, rng=np.random.default_rng(seed))
    return calibrators.get(calibrator).fit(record.logits, record.labels, context=context)


def _saved(path: Path) -> Any:
    from calbench import calibrators
    from calbench.errors import InputError
    from calbench.records import json_document

    saved = json_document(path)
    try:
        return calibrators.from_dict(saved)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _calibrated(record: AnyRecord, fitted: Any) -> AnyRecord:
    """Return the record with the probabilities that a fitted calibrator gives it."""
    import numpy as np

    from calbench.records import Predictions

    raw = class_vectors(record)
    # A step function may give the right class 0, which a record refuses: what the NLL counts instead.
    least = np.where(np.isneginf(raw.logits), 0.0, np.finfo(np.float64).tiny)
    probs = np.maximum(fitted(raw.logits), least)
    return Predictions.from_probs(raw.item_ids, probs, raw.labels, raw.metadata)
