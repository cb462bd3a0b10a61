"""``calbench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calbench.cli.application import app
from calbench.cli.options import AsJson, Columns, Resamples, Seed, column_names
from calbench.cli.output import finite, print_json


@app.command()
def compare(
    candidate: Annotated[Path, typer.Argument(help="Predictions of the candidate.")],
    reference: Annotated[Path, typer.Argument(help="Predictions of the reference, same items.")],
    columns: Columns = "",
    metric: Annotated[str, typer.Option(help="Id of the metric.")] = "ece",
    margin: Annotated[float, typer.Option(help="How much worse is accepted.")] = 0.0,
    relative: Annotated[bool, typer.Option(help="The margin is a share, 0.05 for 5%.")] = False,
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Gate a candidate against a reference: exit status 1 if it is shown to be worse.

    Example: calbench compare int4.parquet fp32.parquet --metric ece --margin 0.02
    """
    from dataclasses import asdict

    import numpy as np

    from calbench import Predictions, statistics

    decision = statistics.compare(
        Predictions.read(candidate, **column_names(columns)),
        Predictions.read(reference, **column_names(columns)),
        metric=metric,
        margin=margin,
        relative=relative,
        n_resamples=n_resamples,
        rng=np.random.default_rng(seed),
    )
    if as_json:
        print_json({name: finite(value) for name, value in asdict(decision).items()})
    else:
        low, high = decision.interval
        needed = f"; about {decision.items_needed:,} items would decide" if decision.items_needed else ""
        typer.echo(
            f"{decision.outcome}: Δ {metric} = {decision.delta:+.4f} [{low:+.4f}, {high:+.4f}],"
            f" margin {margin:+g}{' relative' if relative else ''}, n = {decision.n:,}{needed}"
        )
    raise typer.Exit(1 if decision.outcome == "fail" else 0)
