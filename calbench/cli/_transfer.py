"""``calbench transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import (
    Answers,
    AnswersColumn,
    AsJson,
    FileFormat,
    Format,
    Metrics,
    Resamples,
    Seed,
    metric_names,
    read_pair,
)
from calbench.cli._output import interval, plain, print_json, say, table

if TYPE_CHECKING:
    from calbench.records import ColumnNames


@app.command()
@reads_tables
def transfer(
    reference: Annotated[Path, typer.Argument(help="Predictions of the full-precision model.")],
    candidate: Annotated[Path, typer.Argument(help="Predictions of the quantized model, of the same items.")],
    calibrator: Annotated[str, typer.Option(help="Id of the calibrator.")] = "temperature",
    *,
    columns: ColumnNames,
    answers: Answers = None,
    answers_column: AnswersColumn = "",
    file_format: Format = FileFormat.auto,
    metrics: Metrics = "",
    calibration_fraction: Annotated[float, typer.Option(help="Share of the items to fit on.")] = 0.5,
    reference_epsilon: Annotated[
        float | None, typer.Option(help="Unit error of the reference's precision, for pacs.")
    ] = None,
    candidate_epsilon: Annotated[
        float | None, typer.Option(help="Unit error of the candidate's precision, for pacs.")
    ] = None,
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a calibrator on the reference, use it on the candidate, and say what was lost.

    Where a file holds the top answer only, calibrators of confidences can be used: histogram,
    isotonic, beta, platt, scaling_binning.

    Example: calbench transfer fp32.parquet int4.parquet --calibrator temperature

    Example: calbench transfer bf16.parquet 3bit.parquet --columns label=answer_idx,logits=logprobs
    """
    import numpy as np

    from calbench.gates import ARMS
    from calbench.gates import transfer as run_transfer

    both = read_pair(
        reference,
        candidate,
        columns,
        answers=answers,
        answers_column=answers_column,
        file_format=file_format,
    )
    wanted = metric_names(metrics, both.reference)
    result = run_transfer(
        both.reference,
        both.candidate,
        calibrator,
        calibration_fraction=calibration_fraction,
        metrics=wanted,
        n_resamples=n_resamples,
        reference_epsilon=reference_epsilon,
        candidate_epsilon=candidate_epsilon,
        rng=np.random.default_rng(seed),
    )
    parts = {name: getattr(result, name) for name in (*ARMS, "degradation", "regret", "benefit")}
    if as_json:
        return print_json(
            {
                "calibrator": calibrator,
                "n_calibration": result.n_calibration,
                "n_test": result.n_test,
                **{part: {n: plain(e) for n, e in values.items()} for part, values in parts.items()},
                "warnings": list(result.warnings),
                "only_reference": list(both.only_reference),
                "only_candidate": list(both.only_candidate),
            }
        )
    table(
        f"{calibrator}: fitted on {result.n_calibration:,} items, scored on {result.n_test:,}",
        ["", *wanted],
        [
            [part.replace("_", " "), *(f"{e.value:.4f}\n{interval(e)}" for e in values.values())]
            for part, values in parts.items()
        ],
    )
    for warning in (*result.warnings, *both.notes):
        say(f"note: {warning}")
    return None
