"""``calbench transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from calbench.cli.application import app
from calbench.cli.options import AsJson, Columns, Metrics, Resamples, Seed, column_names, metric_names
from calbench.cli.output import interval, plain, print_json, say, table


@app.command()
def transfer(
    reference: Annotated[Path, typer.Argument(help="Predictions of the full-precision model.")],
    candidate: Annotated[Path, typer.Argument(help="Predictions of the quantized model, same items.")],
    calibrator: Annotated[str, typer.Option(help="Id of the calibrator.")] = "temperature",
    columns: Columns = "",
    metrics: Metrics = "ece,nll,brier,accuracy",
    calibration_fraction: Annotated[float, typer.Option(help="Share of the items to fit on.")] = 0.5,
    reference_epsilon: Annotated[
        Optional[float], typer.Option(help="Unit error of the reference's precision, for pacs.")  # noqa: UP045
    ] = None,
    candidate_epsilon: Annotated[
        Optional[float], typer.Option(help="Unit error of the candidate's precision, for pacs.")  # noqa: UP045
    ] = None,
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a calibrator on the reference, use it on the candidate, and say what was lost.

    Example: calbench transfer fp32.parquet int4.parquet --calibrator temperature
    """
    import numpy as np

    from calbench import Predictions, experiments
    from calbench.experiments.transfer import ARMS

    result = experiments.transfer(
        Predictions.read(reference, **column_names(columns)),
        Predictions.read(candidate, **column_names(columns)),
        calibrator,
        calibration_fraction=calibration_fraction,
        metrics=metric_names(metrics),
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
            }
        )
    table(
        f"{calibrator}: fitted on {result.n_calibration:,} items, scored on {result.n_test:,}",
        ["", *metric_names(metrics)],
        [
            [part.replace("_", " "), *(f"{e.value:.4f}\n{interval(e)}" for e in values.values())]
            for part, values in parts.items()
        ],
    )
    for warning in result.warnings:
        say(f"note: {warning}")
    return None
