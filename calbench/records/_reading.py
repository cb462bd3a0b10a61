"""Records from files: which columns hold what, and that what is read is what was written."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from calbench.errors import CorruptRecordError, InputError
from calbench.records._columns import ColumnFile, joined
from calbench.records._content import reading
from calbench.records._names import ColumnNames
from calbench.records._predictions import AnyRecord, Predictions, TopLabelPredictions
from calbench.records._rows import Rows
from calbench.records._writing import digest


def read_record(
    path: str | PathLike[str] | Sequence[str | PathLike[str]],
    names: ColumnNames | None = None,
    *,
    kind: type[AnyRecord] | None = None,
) -> AnyRecord:
    """Read a record from a file of columns.

    Parameters
    ----------
    path
        A table in any format that :func:`open_columns` reads, a folder of its parts, or the parts.
    names
        Its columns.
    kind
        Which record to make; by default a class vector where the file has one, unless the names
        of a top answer's columns are given.

    Raises
    ------
    InputError
        The file, the row and the remedy are named.
    CorruptRecordError
        The file says that calbench wrote it, and holds something else.
    """
    names = names or ColumnNames()
    paths = [Path(path)] if isinstance(path, str | PathLike) else [Path(part) for part in path]
    return record_of(joined(paths, text_columns=text_columns(names)), names, kind=kind)


def text_columns(names: ColumnNames) -> tuple[str, ...]:
    """Return the columns that a csv file has as texts: ids, and what rows are chosen by."""
    item_id = names.item_id or "item_id"
    return (item_id, *item_id.split("+"), names.cluster_id or "cluster_id", *names.where)


def record_of(file: ColumnFile, names: ColumnNames, *, kind: type[AnyRecord] | None = None) -> AnyRecord:
    """Build a record from opened columns; see :func:`read_record`."""
    if kind is None:
        kind = kind_of(file, names)
    try:
        with reading(file.path):
            chosen = Rows(file, names)
            record = chosen.described(chosen.predictions() if kind is Predictions else chosen.top_label())
            if chosen.notes:
                record = record.with_metadata({**record.metadata, "notes": list(chosen.notes)})
    except InputError as error:
        message = str(error)
        shown = message if message.startswith(str(file.path)) else f"{file.path}: {message}"
        raise InputError(shown) from error.__cause__
    if file.digest and names.as_written and file.digest != digest(record):
        raise CorruptRecordError(
            f"{file.path} does not match the checksum that it was written with; write or import it again"
        )
    return record


def kind_of(file: ColumnFile, names: ColumnNames) -> type[AnyRecord]:
    """Return which record a file's columns make."""
    if names.logits or names.probs or names.positive:
        return Predictions
    if names.confidence or names.correct or names.predicted:
        return TopLabelPredictions
    vector = "logits" in file or "logits_0" in file
    return TopLabelPredictions if not vector and "confidence" in file else Predictions
