"""Records from files: which columns hold what, and that what is read is what was written."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import CorruptRecordError, InputError
from calbench.records._columns import ColumnFile, open_columns, reading
from calbench.records._predictions import AnyRecord, Predictions, TopLabelPredictions
from calbench.records._writing import digest

# Columns that say of which experiment a row is; a record is of one.
_MIXED = ("model", "task", "benchmark", "quantizer", "precision", "condition")
_LETTERS = {letter: place for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}


@dataclass(frozen=True)
class ColumnNames:
    """Which columns of a file hold what; None stands for the name of the field itself.

    Attributes
    ----------
    item_id, label
        Ids, and 0-based labels (or the letters A, B, ...).
    logits, probs
        A column with a list per row, or one column per class.
    confidence, correct, predicted
        Of the top answer, where there is no class vector. ``correct`` may be left out where
        ``label`` and ``predicted`` are there to be compared.
    row_ids
        Number the rows instead of reading ids.
    where
        Only rows with these values, by column.
    """

    item_id: str | None = None
    label: str | None = None
    logits: str | Sequence[str] | None = None
    probs: str | Sequence[str] | None = None
    confidence: str | None = None
    correct: str | None = None
    predicted: str | None = None
    row_ids: bool = False
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_written(self) -> bool:
        """Whether these are the columns that calbench itself writes."""
        return all(not getattr(self, f.name) for f in fields(self))


def read_predictions(path: Path, *, item_id: str, label: str, logits: str | Sequence[str]) -> Predictions:
    """See :meth:`calbench.Predictions.read`."""
    defaults = (item_id, label, logits) == ("item_id", "label", "logits")
    names = ColumnNames() if defaults else ColumnNames(item_id=item_id, label=label, logits=logits)
    record = read_record(path, names, kind=Predictions)
    assert isinstance(record, Predictions)  # noqa: S101 (asked for above)
    return record


def read_record(
    path: Path, names: ColumnNames | None = None, *, kind: type[AnyRecord] | None = None
) -> AnyRecord:
    """Read a record from a file of columns.

    Parameters
    ----------
    path
        A parquet, jsonl, json, csv, npz or safetensors file.
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
    file = open_columns(path, text_columns=(names.item_id or "item_id", *names.where))
    return record_of(file, names, kind=kind)


def record_of(file: ColumnFile, names: ColumnNames, *, kind: type[AnyRecord] | None = None) -> AnyRecord:
    """Build a record from opened columns; see :func:`read_record`."""
    if kind is None:
        kind = kind_of(file, names)
    try:
        with reading(file.path):
            chosen = _Rows(file, names)
            record = chosen.predictions() if kind is Predictions else chosen.top_label()
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
    if names.confidence or names.correct or names.predicted:
        return TopLabelPredictions
    vector = names.logits or names.probs or "logits" in file or "logits_0" in file
    return TopLabelPredictions if not vector and "confidence" in file else Predictions


class _Rows:
    """The rows that are wanted of a file, as the arrays of a record."""

    def __init__(self, file: ColumnFile, names: ColumnNames) -> None:
        self._file, self._names = file, names
        self._mask = self._wanted()
        self._refuse_mixed()

    def predictions(self) -> Predictions:
        ids, metadata = self._ids(), self._file.metadata
        labels = _labels(self._column(self._names.label or "label"))
        if self._names.probs:
            return Predictions.from_probs(ids, self._vectors(self._names.probs), labels, metadata)
        return Predictions(ids, self._vectors(self._names.logits or "logits"), labels, metadata)

    def top_label(self) -> TopLabelPredictions:
        names = self._names
        correct_name = names.correct or "correct"
        if names.predicted or correct_name not in self._file:
            correct = _agree(
                self._column(names.predicted or "predicted"), self._column(names.label or "label")
            )
        else:
            correct = np.asarray(self._column(correct_name))
        confidences = self._column(names.confidence or "confidence")
        answers = names.predicted or "predicted"
        # Another file may have numbers, or say something that is no letter here and there.
        said = [_number_of(text) for text in _texts(self._column(answers))] if answers in self._file else None
        return TopLabelPredictions(self._ids(), confidences, correct, self._file.metadata, answers=said)

    def _ids(self) -> Any:
        name = self._names.item_id or "item_id"
        if not self._names.row_ids:
            if name not in self._file:
                raise InputError(
                    f"no column {name!r} (it has {', '.join(self._file.names[:20])}); map it with"
                    " item_id=NAME, or number the rows (--row-ids) if every file has them in the same order"
                )
            return self._column(name)
        first = next(iter(self._file.names), None)
        if first is None:
            raise InputError("it has no columns")
        return np.arange(len(self._file.column(first)))[self._mask].astype(str)

    def _vectors(self, names: str | Sequence[str]) -> Any:
        if not isinstance(names, str):
            return np.column_stack([np.asarray(self._column(name)) for name in names])
        if names not in self._file:
            numbered = self._numbered(names)
            if numbered:
                return self._vectors(numbered)
            self._recommend_probs(names)
        values = self._column(names)
        return values if isinstance(values, np.ndarray) else _padded(values, names)

    def _recommend_probs(self, missing: str) -> None:
        """Refuse to look for logits in a file that has probabilities by name."""
        found = [
            n for n in self._file.names if re.fullmatch(r"(p|prob|probs|probability|probabilities)_?\d*", n)
        ]
        if found:
            shown = ", ".join(self._file.names[:20])
            raise InputError(
                f"no column {missing!r} (it has {shown}); if {found[0]!r} holds probabilities, say so with"
                f" --columns probs={'+'.join(found)}"
            )

    def _numbered(self, name: str) -> list[str]:
        """Return ``name_0``, ``name_1``, ...; a gap would give every later class another's label."""
        places = {int(n.removeprefix(f"{name}_")) for n in self._file.names if _is_numbered(n, name)}
        if places and max(places) >= len(places):
            missing = next(place for place in range(len(places)) if place not in places)
            raise InputError(
                f"there is no column {name}_{missing} beside {name}_{max(places)}; classes are counted from 0"
                " without a gap: name the columns in their order, as in --columns logits=a+b+c"
            )
        return [f"{name}_{place}" for place in sorted(places)]

    def _column(self, name: str) -> Any:
        values = self._file.column(name)
        if isinstance(self._mask, slice):
            return values
        if isinstance(values, np.ndarray):
            return values[self._mask]
        return [values[row] for row in np.flatnonzero(self._mask)]

    def _wanted(self) -> Any:
        mask: Any = slice(None)
        for name, value in self._names.where.items():
            column = self._file.column(name)
            same = np.array([str(v) == value for v in column])
            if not same.any():
                held = sorted({str(v) for v in column})[:10]
                raise InputError(
                    f"{self._file.path}: no row has {name}={value} (there are {', '.join(held)})"
                )
            mask = same if isinstance(mask, slice) else mask & same
        if not isinstance(mask, slice) and not mask.any():
            raise InputError(f"{self._file.path}: no row has all of {dict(self._names.where)}")
        return mask

    def _refuse_mixed(self) -> None:
        for name in _MIXED:
            if name not in self._file or name in self._names.where:
                continue
            column = self._column(name)
            held = {str(v) for v in column} if not _is_constant(column) else set()
            if len(held) > 1:
                raise InputError(
                    f"{self._file.path}: mixes {len(held)} values of {name}"
                    f" ({', '.join(sorted(held)[:5])}); a record is of one: choose with --where {name}=VALUE"
                )


def _is_numbered(column: str, name: str) -> bool:
    return column == f"{name}_0" or re.fullmatch(rf"{re.escape(name)}_[1-9][0-9]{{0,8}}", column) is not None


def _is_constant(column: Any) -> bool:
    first = column[0] if len(column) else None
    return all(value == first for value in column)


def _padded(values: Sequence[Any], name: str) -> list[list[float]]:
    rows = [json.loads(row) if isinstance(row, str) else row for row in values]
    for i, row in enumerate(rows):
        if not isinstance(row, list) or any(
            isinstance(v, bool) or not isinstance(v, int | float) for v in row
        ):
            raise InputError(f"row {i}: {name} = {str(row)[:80]!r} is not a list of numbers")
    width = max(map(len, rows), default=0)
    return [row + [-np.inf] * (width - len(row)) for row in rows]


def _labels(column: Any) -> Any:
    """Return labels as integers: whole floats, digits and the letters A, B, ... are read as such."""
    values = np.asarray(column)
    if values.dtype.kind in ("f", "O"):
        _refuse_missing(_texts(column))
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        return values.astype(np.int64)
    if values.dtype.kind != "U":
        return values
    for row, text in enumerate(values.tolist()):
        if not text.isdecimal() and text not in _LETTERS:
            raise InputError(f"label[{row}] = {text!r} is neither a number nor a letter A to Z; map it first")
    return np.array([_LETTERS[t] if t in _LETTERS else int(t) for t in values.tolist()])


def _agree(predicted: Any, labels: Any) -> Any:
    """Return where answers are the labels; an answer that is missing is wrong.

    A number is one however it was stored (1, 1.0, "1"), and A is 0 where one side has letters and
    the other numbers.
    """
    answers, right = _texts(predicted), _texts(labels)
    _refuse_missing(right)
    if len(answers) != len(right):
        raise InputError(f"there are {len(answers)} answers for {len(right)} labels")
    if _are_letters(answers) and _are_numbers(right):
        answers = [_number_of(text) for text in answers]
    elif _are_numbers(answers) and _are_letters(right):
        right = [_number_of(text) for text in right]
    _refuse_other_words(answers, right)
    return np.array([a == b for a, b in zip(answers, right, strict=True)])


def _refuse_other_words(answers: list[str], right: list[str]) -> None:
    """Refuse answers of which none is right because they are spelled otherwise: labels that recur."""
    said, labels = {text for text in answers if text}, set(right)
    if said and 1 < len(labels) <= len(right) / 2 and said.isdisjoint(labels) and _akin(said, labels):
        raise InputError(
            f"no answer is a label: predicted holds such as {min(said)!r}, label such as {min(labels)!r};"
            " spell both alike, or give a column correct"
        )


def _akin(said: set[str], labels: set[str]) -> bool:
    """Whether both seem to name the same: numbers or letters, and words, or beginnings of each other."""
    if _are_numbers([*said]) or _are_numbers([*labels]):
        return not (_are_numbers([*said]) and _are_numbers([*labels]))
    if _are_letters([*said]):
        return not _are_letters([*labels])
    ours, theirs = ({_folded(text) for text in texts} for texts in (said, labels))
    return any(a.startswith(b) or b.startswith(a) for a in ours for b in theirs)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _refuse_missing(labels: list[str]) -> None:
    if "" in labels:
        raise InputError(f"label[{labels.index('')}] is missing; an item needs a right answer: drop the row")


def _texts(column: Any) -> list[str]:
    """Return answers as texts: whole floats like integers, what is missing (null, NaN) as ``""``."""
    values = column.tolist() if isinstance(column, np.ndarray) else column
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return "" if value is None else str(value)


def _number_of(text: str) -> str:
    return str(_LETTERS[text]) if text in _LETTERS else text


def _are_letters(texts: Sequence[str]) -> bool:
    return all(text in _LETTERS for text in texts if text)


def _are_numbers(texts: Sequence[str]) -> bool:
    return all(text.isdecimal() for text in texts if text)
