"""``calbench import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import Answers, AnswersColumn, AsJson, FileFormat, Format, read_record
from calbench.cli._output import print_json, refuse_overwriting, say

if TYPE_CHECKING:
    from calbench.records import ColumnNames


@app.command("import")
@reads_tables
def import_(
    source: Annotated[
        list[Path],
        typer.Argument(help="What something else wrote: a file, samples_*.jsonl, or a folder of them."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The record: .parquet, .jsonl, .csv, .npz or .safetensors.")
    ],
    *,
    columns: ColumnNames,
    answers: Answers = None,
    answers_column: AnswersColumn = "",
    file_format: Format = FileFormat.auto,
    scorer: Annotated[str, typer.Option(help="Which scorer of an inspect_ai log is right.")] = "",
    per_character: Annotated[
        bool, typer.Option("--per-character", help="Score lm-eval options as acc_norm does.")
    ] = False,
    model: Annotated[str, typer.Option(help="The model, for the record's metadata.")] = "",
    task: Annotated[str, typer.Option(help="The task, for the record's metadata.")] = "",
    quantizer: Annotated[str, typer.Option(help="The precision, for the record's metadata.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write a record of predictions that were made elsewhere, with its origin.

    With --model, --task and --quantizer a folder of such records can be gated and reported.

    Example: calbench import lm_eval_output/ -o records/qwen-fp16.parquet --quantizer fp16

    Example: calbench import logits.pt --row-ids -o cifar.parquet

    Example: calbench import int4.json --row-ids --columns predicted=preds,confidence=confs --answers
    fp16.json -o int4.parquet
    """
    from calbench.records import SUFFIXES, Predictions, by_suffix

    by_suffix(output, dict.fromkeys(SUFFIXES, print_json))  # before anything is read
    refuse_overwriting(output, (*source, answers))
    record = read_record(
        source,
        columns,
        answers=answers,
        answers_column=answers_column,
        file_format=file_format,
        scoring="per-character" if per_character else "sum",
        scorer=scorer or None,
    )
    named = {"model": model, "task": task, "quantizer": quantizer}
    metadata = {**record.metadata, **{name: value for name, value in named.items() if value}}
    record = record.with_metadata(metadata)
    record.write(output)
    if as_json:
        return print_json({"record": str(output), "n": len(record), "metadata": metadata})
    kind = f"{record.n_classes} classes" if isinstance(record, Predictions) else "top answer only"
    say(f"{output}: {len(record):,} items, {kind}, from {metadata['origin']['format']}")
    return None
