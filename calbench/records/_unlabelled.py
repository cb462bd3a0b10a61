"""Answers without labels: what was answered and how sure the model was, by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.records._arrays import Float64, Strings
from calbench.records._columns import ColumnFile
from calbench.records._content import reading
from calbench.records._names import ColumnNames
from calbench.records._predictions import AnyRecord, Predictions
from calbench.records._reading import kind_of, record_of
from calbench.records._rows import Rows

_NO_ANSWERS = (
    "it is not known what was answered, only how sure the model was; give the file that has the answers, with"
    " ColumnNames(predicted='NAME'), or the probabilities of every class"
)


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model answered, whatever is right.

    Attributes
    ----------
    item_ids : (n,) str
        Unique.
    predicted : (n,) str
        The answers: names of classes, or their numbers from 0.
    confidences : (n,) float64
        Of the answers.
    classes
        Names of the classes; empty where answers are open.
    cluster_ids : (n,) str or None
        As in :class:`Predictions`.
    """

    item_ids: Strings
    predicted: Strings
    confidences: Float64
    classes: tuple[str, ...] = ()
    cluster_ids: Strings | None = None

    def __len__(self) -> int:
        return len(self.item_ids)

    @classmethod
    def of_record(cls, record: AnyRecord, classes: tuple[str, ...] = ()) -> Answers:
        """Return a record's answers, without what is said to be right.

        Raises
        ------
        InputError
            It keeps the confidences of answers and not the answers.
        """
        if isinstance(record, Predictions):
            named = classes or tuple(map(str, range(record.n_classes)))
            predicted = np.array(named)[record.predicted]
            return cls(record.item_ids, predicted, record.confidences, named, record.cluster_ids)
        if record.answers is None:
            raise InputError(_NO_ANSWERS)
        return cls(record.item_ids, record.answers, record.confidences, classes, record.cluster_ids)


def answers_of(file: ColumnFile, names: ColumnNames) -> Answers:
    """Read answers from opened columns; a column of labels may be missing, and is not read.

    Raises
    ------
    InputError
        The file, the row and the remedy are named.
    """
    if file.digest:  # one of our own: its checksum is verified
        return _named(file, lambda: Answers.of_record(record_of(file, names), names.classes))
    rows = _Unlabelled(file, names)

    def made() -> Answers:
        kind = kind_of(file, names)
        record = rows.described(rows.predictions() if kind is Predictions else rows.top_label())
        return Answers.of_record(record, names.classes or rows.classes)

    return _named(file, made)


def _named(file: ColumnFile, made: Any) -> Answers:
    try:
        with reading(file.path):
            found: Answers = made()
    except InputError as error:
        message = str(error)
        shown = message if message.startswith(str(file.path)) else f"{file.path}: {message}"
        raise InputError(shown) from error.__cause__
    return found


class _Unlabelled(Rows):
    """Rows of which nothing says what is right: every answer counts as such until the record is made."""

    classes: tuple[str, ...] = ()

    def _labels(self, values: npt.NDArray[Any], scores: Any) -> Any:
        self.classes = scores.classes
        return np.argmax(values, axis=1)

    def _correct(self) -> tuple[Any, list[str] | None, int]:
        answers = self._answers(None)
        if answers is None:
            raise InputError(_NO_ANSWERS)
        return np.ones(len(answers), dtype=bool), answers, len(self._names.classes)
