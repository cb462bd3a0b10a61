"""``calbench evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calbench.cli.application import app
from calbench.cli.options import AsJson, Columns, Metrics, Resamples, Seed, column_names, metric_names
from calbench.cli.output import interval, plain, print_json, table


@app.command()
def evaluate(
    record: Annotated[Path, typer.Argument(help="Predictions: parquet, jsonl, csv, npz or safetensors.")],
    columns: Columns = "",
    metrics: Metrics = "ece,nll,brier,accuracy",
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Print metrics of stored predictions with 95% intervals.

    Example: calbench evaluate predictions.parquet --metrics ece,smece,nll
    """
    import numpy as np

    from calbench import Predictions, statistics

    predictions = Predictions.read(record, **column_names(columns))
    names = metric_names(metrics)
    estimates = statistics.bootstrap(
        predictions, names, n_resamples=n_resamples, rng=np.random.default_rng(seed)
    )
    if as_json:
        return print_json({"n": len(predictions), "metrics": {n: plain(e) for n, e in estimates.items()}})
    table(
        f"{record.name}: {len(predictions):,} items",
        ["metric", "value", "95% interval"],
        [[name, f"{e.value:.4f}", interval(e)] for name, e in estimates.items()],
    )
    return None
