"""``calbench compare``."""

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
    Resamples,
    Seed,
    read_pair,
)
from calbench.cli._output import print_json, say

if TYPE_CHECKING:
    from calbench.records import ColumnNames


@app.command()
@reads_tables
def compare(
    candidate: Annotated[Path, typer.Argument(help="Predictions of the candidate.")],
    reference: Annotated[Path, typer.Argument(help="Predictions of the reference, of the same items.")],
    *,
    columns: ColumnNames,
    answers: Answers = None,
    answers_column: AnswersColumn = "",
    file_format: Format = FileFormat.auto,
    metric: Annotated[str, typer.Option(help="Id of the metric.")] = "ece",
    margin: Annotated[float, typer.Option(help="How much worse is accepted.")] = 0.0,
    relative: Annotated[bool, typer.Option(help="The margin is a share, 0.05 for 5%.")] = False,
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Gate a candidate against a reference: exit status 1 if it is shown to be worse.

    Items are matched by id; those that only one file has are left out, counted and named. How far
    the two models' answers lie apart is printed too.

    Example: calbench compare int4.parquet fp32.parquet --metric ece --margin 0.02

    Example: calbench compare int4/ fp16/ --metric nll --json   (folders of lm-eval samples)
    """
    from dataclasses import asdict

    import numpy as np

    from calbench import statistics
    from calbench.metrics import precision_split

    both = read_pair(
        reference,
        candidate,
        columns,
        answers=answers,
        answers_column=answers_column,
        file_format=file_format,
    )
    decision = statistics.compare(
        both.candidate,
        both.reference,
        metric=metric,
        margin=margin,
        relative=relative,
        n_resamples=n_resamples,
        rng=np.random.default_rng(seed),
    )
    split = precision_split(both.candidate, both.reference)
    if as_json:
        print_json(
            {
                **asdict(decision),
                "precision_split": asdict(split),
                "only_reference": list(both.only_reference),
                "only_candidate": list(both.only_candidate),
            }
        )
    else:
        low, high = decision.interval
        needed = f"; about {decision.items_needed:,} items would decide" if decision.items_needed else ""
        typer.echo(
            f"{decision.outcome}: Δ {metric} = {decision.delta:+.4f} [{low:+.4f}, {high:+.4f}],"
            f" margin {margin:+g}{' relative' if relative else ''}, n = {decision.n:,}{needed}"
        )
        flip = "flip" if split.flips_of == "answers" else "turn right or wrong"
        typer.echo(
            f"answers that {flip}: {split.flip_rate:.1%}; confidence moves by"
            f" {split.confidence_shift_mean:.4f} on average, at most {split.confidence_shift_max:.4f}"
        )
        for note in both.notes:
            say(f"note: {note}")
    raise typer.Exit(1 if decision.outcome == "fail" else 0)
