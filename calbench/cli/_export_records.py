"""``calbench export records``, ``calbench export results`` and ``calbench export model-card``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._columns import reads_tables
from calbench.cli._export import export
from calbench.cli._options import SEED, Metrics, Resamples, Seed, StoreFolder, metric_names, read_record
from calbench.cli._output import json_text, refuse_overwriting, say

if TYPE_CHECKING:
    from calbench.records import AnyRecord, ColumnNames

Source = Annotated[Path, typer.Argument(help="Predictions: a file, a folder, or a stored record.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file to write; standard output if left out.")
]


@export.command()
@reads_tables
def records(
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file: .parquet, .jsonl, .csv, .npz or .safetensors.")
    ],
    *,
    columns: ColumnNames,
    store: StoreFolder = None,
) -> None:
    """Write a record in another format.

    Example: calbench export records int4.parquet -o int4.csv
    """
    refuse_overwriting(output, (source,))
    record = read_record(source, columns, store=store)
    record.write(output)
    say(f"{output}: {len(record):,} items")


@export.command()
@reads_tables
def results(
    source: Source,
    task: Annotated[str, typer.Option(help="Name of the task.")],
    output: Output = None,
    *,
    columns: ColumnNames,
    metrics: Metrics = "",
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    store: StoreFolder = None,
) -> None:
    """Write metrics as lm-evaluation-harness writes its results.

    Example: calbench export results int4.parquet --task arc_challenge -o results_int4.json
    """
    from calbench import interchange

    record, estimates = _measured(source, columns, metrics, n_resamples, seed, store)
    _write(json_text(interchange.lm_eval_results(record, estimates, task=task)) + "\n", output)


@export.command("model-card")
@reads_tables
def model_card(
    source: Source,
    model: Annotated[str, typer.Option(help="The model's name on its card.")],
    task: Annotated[str, typer.Option(help="Name of the data set.")],
    output: Output = None,
    *,
    columns: ColumnNames,
    metrics: Metrics = "",
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    store: StoreFolder = None,
) -> None:
    """Write metrics as the metadata of a Hugging Face model card (its model-index).

    Example: calbench export model-card int4.parquet --model me/my-model-int4 --task arc_challenge
    """
    from calbench import interchange

    record, estimates = _measured(source, columns, metrics, n_resamples, seed, store)
    index = interchange.model_index(record, estimates, model=model, task=task)
    _write(interchange.front_matter(index), output)


def _measured(
    source: Path, columns: ColumnNames, metrics: str, n_resamples: int, seed: int, store: str | None
) -> tuple[AnyRecord, Any]:
    from calbench import gates

    record = read_record(source, columns, store=store)
    chosen = metric_names(metrics, record)
    return record, gates.evaluate(record, chosen, n_resamples=n_resamples, seed=seed)


def _write(text: str, output: Path | None) -> None:
    from calbench.cache import replacing

    if output is None:
        typer.echo(text, nl=False)
        return
    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
