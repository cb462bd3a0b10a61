"""One door for all files: what a path is, and which reader reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal

from calbench.errors import InputError
from calbench.interchange._answers import with_answers
from calbench.interchange._inspect_logs import is_inspect, read_inspect
from calbench.interchange._lm_eval import Scoring, is_samples, read_lm_eval
from calbench.interchange._origin import with_origin
from calbench.records import (
    Answers,
    AnyRecord,
    ColumnFile,
    ColumnNames,
    TopLabelPredictions,
    answers_of,
    joined,
    kind_of,
    kind_of_content,
    parts_of,
    record_of,
    text_columns,
)

Format = Literal["auto", "table", "torch", "lm-eval", "inspect"]
# Under which names tables say what they are of.
_FACTS = {
    "model": ("model",),
    "task": ("task", "benchmark", "dataset"),
    "quantizer": ("quantizer", "precision", "condition"),
}


def read(
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    columns: ColumnNames | None = None,
    format_: Format = "auto",
    answers: str | PathLike[str] | None = None,
    answers_column: str | None = None,
    scoring: Scoring = "sum",
    scorer: str | None = None,
    tasks: Sequence[str] = (),
) -> AnyRecord:
    """Read one record from files that something else wrote.

    Parameters
    ----------
    paths
        A table (parquet, jsonl, json, csv, arrow, npz, npy, safetensors or pt), or its parts or a folder
        of them; ``samples_*.jsonl`` files of lm-evaluation-harness, or a folder of them; or logs of
        inspect_ai. What a file is follows from its content.
    columns
        Which columns of a table hold what.
    format_
        What the files are, if their names do not say so.
    answers, answers_column
        A file with the right answers, if they are not beside the predictions.
    scoring
        How options are scored, for lm-evaluation-harness.
    scorer
        Which scorer says what is right, for inspect_ai.
    tasks
        Names or patterns of the tasks to read, for lm-evaluation-harness.

    Returns
    -------
    Predictions or TopLabelPredictions
        With its origin among the metadata.

    Raises
    ------
    InputError
        The file, the row and the remedy are named.
    """
    given = [Path(paths)] if isinstance(paths, str | PathLike) else [Path(path) for path in paths]
    if not given:
        raise InputError("no path is given; name a file of predictions")
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file")
    kind = _format(given) if format_ == "auto" else format_
    if scoring != "sum" and kind != "lm-eval":
        raise InputError(f"{given[0]}: only logs of lm-evaluation-harness are scored; leave out scoring=")
    if scorer is not None and kind != "inspect":
        raise InputError(f"{given[0]}: only logs of inspect_ai have scorers; leave out scorer=")
    if answers_column is not None and answers is None:
        raise InputError(f"answers_column={answers_column!r} names a column of answers=, which is not given")
    if tasks and kind != "lm-eval":
        raise InputError(f"{given[0]}: only logs of lm-evaluation-harness hold tasks; leave out tasks=")
    if kind in ("lm-eval", "inspect"):
        if answers is not None:
            raise InputError(f"{given[0]}: a log says itself which answers are right; leave out answers=")
        mapped = set((columns or ColumnNames()).mapped)
        if mapped - ({"label", "label_start", "classes"} if kind == "lm-eval" else set()):
            raise InputError(
                f"{given[0]}: a log has no columns to map but ColumnNames(label=...), where the right"
                " answer stands; leave out columns=, or read it as a table with format_='table'"
            )
        if kind == "lm-eval":
            return read_lm_eval(given, scoring=scoring, tasks=tasks, columns=columns)
        return read_inspect(given, scorer=scorer)
    right = None if answers is None else Path(answers)
    return _table(given, columns or ColumnNames(), kind, right, answers_column)


def read_answers(
    paths: Path | Sequence[Path], *, columns: ColumnNames | None = None, format_: Format = "auto"
) -> Answers:
    """Read what a model answered, from files that need not say what is right; see :func:`read`.

    Raises
    ------
    InputError
        The file, the row and the remedy are named; or the file does not hold what was answered.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    names = columns or ColumnNames()
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file")
    kind = _format(given) if format_ == "auto" else format_
    if kind in ("lm-eval", "inspect"):
        return Answers.of_record(read(given, columns=columns, format_=kind), names.classes)
    return answers_of(joined(given, text_columns=text_columns(names)), names)


def _format(paths: list[Path]) -> Format:
    if all(is_samples(path) for path in paths):
        return "lm-eval"
    if all(is_inspect(path) for path in paths):
        return "inspect"
    return "torch" if kind_of_content(paths[0]) == "torch" else "table"


def _table(
    paths: list[Path], columns: ColumnNames, kind: Format, answers: Path | None, answers_column: str | None
) -> AnyRecord:
    file = joined(paths, text_columns=text_columns(columns))
    item_id = None if columns.row_ids else columns.item_id or "item_id"
    sources = [part for path in paths for part in parts_of(path)]
    if answers is not None:
        _check_can_be_judged(file, columns, answers)
        if columns.correct:
            raise InputError(
                f"{answers}: says what is right, and so does ColumnNames(correct={columns.correct!r});"
                " leave out one"
            )
        file = with_answers(file, answers, column=answers_column, item_id=item_id)
        file = replace(file, names=tuple(n for n in file.names if n != (columns.correct or "correct")))
        sources.append(answers)
    record = record_of(file, columns)
    if columns.as_written and "origin" in record.metadata:
        return record  # one of our own: it says already where it is from
    facts = {**_said(file, record), **_mapping(columns, answers)}
    return with_origin(record, sources, format_=kind, facts=facts)


def _check_can_be_judged(file: ColumnFile, columns: ColumnNames, answers: Path) -> None:
    if kind_of(file, columns) is TopLabelPredictions and (columns.predicted or "predicted") not in file:
        raise InputError(
            f"{file.path}: does not hold what was answered, so {answers} cannot tell what is right; name the"
            " column that does, as in ColumnNames(predicted='NAME'), or leave out answers="
        )


def _said(file: ColumnFile, record: AnyRecord) -> dict[str, str]:
    """Return the model, task and quantizer that a table names, in a column or in its header."""
    facts = {}
    for fact, names in _FACTS.items():
        for name in names:
            if name in file:
                values = file.column(name)
                if len(values) == len(record) and all(value == values[0] for value in values):
                    facts[fact] = str(values[0])
                    break
            elif isinstance(record.metadata.get(name), str):
                facts[fact] = record.metadata[name]
                break
    return facts


def _mapping(columns: ColumnNames, answers: Path | None) -> dict[str, object]:
    """Return how the columns were read, as far as it differs from their names."""
    mapped = columns.mapped
    if answers is not None:
        mapped["answers"] = answers.name
    return {"columns": mapped} if mapped else {}
