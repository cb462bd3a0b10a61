"""The rows that are wanted of a file, as the arrays of a record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.records._arrays import Int64
from calbench.records._coding import Agreement, Declared, agreement, class_indices
from calbench.records._columns import ColumnFile
from calbench.records._names import VECTORS, ColumnNames
from calbench.records._predictions import AnyRecord, Predictions, TopLabelPredictions
from calbench.records._spellings import cells, is_number, truths
from calbench.records._vectors import (
    Scores,
    named_columns,
    of_percents,
    probabilities,
    refuse_no_logits,
    scores_of,
    shares_of,
    two_classes,
)

# Columns that say of which run a row is; a record is of one.
_RUN = re.compile(
    r"(?!.*(answer|output|response|pred|prob|conf|score|label|text|correct))(model|quant|n_quant).*|tasks?|benchmark|"
    r"dataset|precision|condition|(random_)?seed|(train_)?trial(_index)?|fold|split|revision|run(_id|_name)?|epoch|"
    r"(n_?|num_?)?(few_?)?shots?|num_fewshot|experiment(_id|_name)?|engine|backend|runtime|temperature|"
    r"prompt_(template|version)|"
    r"checkpoint|dtype|(n_)?bits",
    re.IGNORECASE,
)
_ROUNDED = 0.005  # what a confidence may miss one over the number of classes by, written with two digits


class Rows:
    """The wanted rows of a file.

    Attributes
    ----------
    notes
        What a reader of the record's numbers must know about how it was read.
    """

    def __init__(self, file: ColumnFile, names: ColumnNames) -> None:
        self._file, self._names = file, names
        self.notes: list[str] = [*file.notes]
        self._declared = Declared(names.classes, names.label_start)
        self._check_names()
        self._mask = self._wanted()

    def predictions(self) -> Predictions:
        """Build a record of class vectors."""
        names = self._names
        source = next((name for name in VECTORS if getattr(names, name)), "logits")
        scores, shown = self._scores(getattr(names, source) or "logits")
        binary = scores.values.shape[1:] == (1,)
        if source == "positive" and not binary:
            raise InputError(
                f"positive={shown} has {scores.values.shape[1]} values a row; write"
                f" ColumnNames(probs={shown!r})"
            )
        if source == "logits" and not self._file.digest:
            refuse_no_logits(scores.values, shown, binary=binary)
        values = two_classes(scores.values, source, percent=names.percent) if binary else scores.values
        labels = self._labels(values, scores)
        if len(values) != len(labels):
            raise InputError(f"there are {len(labels)} labels for {len(values)} rows; save them anew")
        if source != "logits":
            if not binary:
                self._refuse_absent(values, labels)
            values = probabilities(
                values, shown, percent=names.percent and not binary, renormalise=names.renormalise
            )
        if names.predicted:
            self._check_predicted(values, scores.classes, shown)
        ids = self._ids(len(values))
        if source == "logits":
            return Predictions(ids, values, labels, self._file.metadata)
        return Predictions.from_probs(ids, values, labels, self._file.metadata)

    def top_label(self) -> TopLabelPredictions:
        """Build a record of the top answer."""
        names = self._names
        confidences = np.asarray(_flat(self._column(names.confidence or "confidence")))
        if names.percent:
            confidences = of_percents(confidences, names.confidence or "confidence")
        correct, answers, n_classes = self._correct()
        self._refuse_impossible(confidences, n_classes)
        if names.confidence_kind != "class":
            self.notes.append(f"confidences are of the kind {names.confidence_kind}")
        ids = self._ids(len(confidences))
        return TopLabelPredictions(ids, confidences, correct, self._file.metadata, answers=answers)

    def _labels(self, values: Any, scores: Scores) -> Any:
        """Return the right class of each row."""
        return self._class_indices(self._names.label or "label", values.shape[1], scores)

    def _correct(self) -> tuple[Any, list[str] | None, int]:
        """Return which answers are right, what was answered, and among how many classes, if known."""
        names, found = self._names, self._agreement()
        if names.correct or (not names.predicted and "correct" in self._file):
            correct = truths(self._column(names.correct or "correct"))
            if found is not None and names.correct and names.predicted and names.label:
                self._refuse_disagreement(correct, found)
        elif found is None:
            missing = next(n for n in ("predicted", "label") if (getattr(names, n) or n) not in self._file)
            raise InputError(
                f"no column says what is right (it has {', '.join(self._file.names[:20])}): {missing!r} is"
                " not among them; name it with ColumnNames(correct='NAME'), or"
                " ColumnNames(predicted='NAME', label='NAME')"
            )
        else:
            correct = found.correct
            self.notes += found.notes
        return correct, self._answers(found), len(names.classes) or (found.n_classes if found else 0)

    def described(self, record: AnyRecord) -> AnyRecord:
        """Add what the file says of how items were drawn and by how many people they were labelled."""
        names, clusters, shares = self._names, None, None
        if names.cluster_id or "cluster_id" in self._file:
            clusters = cells(self._column(names.cluster_id or "cluster_id"))
        if names.label_distribution or {"label_distribution", "label_distribution_0"} & set(self._file.names):
            if isinstance(record, TopLabelPredictions):
                raise InputError(
                    "label_distribution is compared with the probability of every class; map"
                    " ColumnNames(probs=...) or ColumnNames(logits=...) too"
                )
            scores, _ = self._scores(names.label_distribution or "label_distribution")
            shares = shares_of(scores.values)
        return record.described(clusters, shares) if clusters or shares is not None else record

    def _agreement(self) -> Agreement | None:
        """Compare answers with labels, where the file has both; what nobody asked for may be odd."""
        names = self._names
        said, right = names.predicted or "predicted", names.label or "label"
        asked = bool(names.predicted) or not (names.correct or "correct" in self._file)
        if said not in self._file or right not in self._file:
            return None
        try:
            return agreement(self._column(said), self._column(right), self._declared)
        except InputError:
            if asked:
                raise
            return None

    def _answers(self, found: Agreement | None) -> list[str] | None:
        if found is not None:
            return found.answers
        name = self._names.predicted or "predicted"
        if name not in self._file:
            return None
        try:
            return cells(self._column(name))
        except InputError:
            if self._names.predicted:
                raise
            return None

    def _refuse_disagreement(self, correct: Any, found: Agreement) -> None:
        odd = correct != found.correct
        if odd.any():
            row = int(np.argmax(odd))
            names = self._names
            raise InputError(
                f"{names.correct}[{row}] is {bool(correct[row])}, but {names.predicted} and {names.label} say"
                f" {bool(found.correct[row])} ({int(odd.sum())} of {len(odd)} rows differ); map one of them:"
                f" ColumnNames(correct={names.correct!r}), or ColumnNames(predicted={names.predicted!r},"
                f" label={names.label!r})"
            )

    def _refuse_impossible(self, confidences: Any, n_classes: int) -> None:
        """Refuse what is no largest probability of so many classes."""
        if self._names.confidence_kind != "class" or n_classes < 2 or confidences.dtype.kind != "f":
            return
        low = confidences < 1 / n_classes - _ROUNDED
        if low.any() and (confidences >= 0).all():
            row = int(np.argmax(low))
            name = self._names.confidence or "confidence"
            binary = f"; if it is the probability of the second class: ColumnNames(positive={name!r})"
            raise InputError(
                f"{name}[{row}] = {confidences[row]:g} is no confidence in the best of {n_classes} classes,"
                f" which is 1/{n_classes} at least ({int(low.sum())} rows){binary if n_classes == 2 else ''};"
                " if it is verbalised, an open answer's or one token's share of a vocabulary, say so with"
                " ColumnNames(confidence_kind=...): 'verbalised', 'answer' or 'vocabulary'"
            )

    def _class_indices(self, name: str, n_classes: int, scores: Scores) -> Any:
        classes = scores.classes
        if not scores.ordered and all(map(is_number, cells(self._column(name)))):
            raise InputError(
                f"{name} numbers the classes, and rows name them in different orders"
                f" ({', '.join(classes[:8])}); say which is 0, 1, ... as in"
                f" ColumnNames(classes={tuple(classes[:8])})"
            )
        declared = self._declared
        if declared.classes and len(declared.classes) != n_classes:
            raise InputError(
                f"ColumnNames(classes=...) names {len(declared.classes)} classes"
                f" ({', '.join(declared.classes[:10])}), and there are {n_classes} columns of them"
            )
        known = Declared(declared.classes or classes, declared.start)
        labels, notes = class_indices(self._column(name), n_classes, known)
        self.notes += notes
        return labels

    def _refuse_absent(self, values: Any, labels: Any) -> None:
        absent = np.isneginf(values[np.arange(len(labels)), labels])
        if absent.any():
            row = int(np.argmax(absent))
            raise InputError(
                f"labels[{row}] = {labels[row]} points at an option that the row has not; the right answer"
                " must be among the item's options"
            )

    def _check_predicted(self, values: Any, classes: tuple[str, ...], shown: str) -> None:
        """Refuse scores of which the largest is not the answer that the file names."""
        known = Declared(self._declared.classes or classes, self._declared.start)
        name = self._names.predicted or "predicted"
        said, _ = class_indices(self._column(name), values.shape[1], known, name=name)
        best = values.max(axis=1)
        odd = best - values[np.arange(len(said)), said] > 1e-6
        if odd.any():
            row = int(np.argmax(odd))
            raise InputError(
                f"{name}[{row}] is class {said[row]}, but the largest of {shown} is of class"
                f" {int(np.argmax(values[row]))} ({int(odd.sum())} of {len(odd)} rows differ); map what is"
                " meant, or leave predicted= out"
            )

    def _scores(self, names: str | Sequence[str]) -> tuple[Scores, str]:
        """Return the scores, and how they are mapped."""
        parts = [names] if isinstance(names, str) else list(names)
        parts = [column for part in parts for column in self._expanded(part)]
        shown = "+".join(parts if len(parts) < 6 else [*parts[:2], "..."])
        if len(parts) > 1:
            return named_columns({part: self._column(part) for part in parts}), shown
        are_probs = self._names.probs is not None or self._names.positive is not None
        column, percent = self._column(parts[0]), self._names.percent
        declared = self._declared.classes
        return scores_of(column, parts[0], declared, are_probs=are_probs, percent=percent), shown

    def _expanded(self, name: str) -> list[str]:
        if name in self._file:
            return [name]
        if "*" in name:
            found = [column for column in self._file.names if fnmatchcase(column, name)]
            if not found:
                raise InputError(f"no column is like {name!r} (it has {', '.join(self._file.names[:20])})")
            return sorted(found, key=_naturally) if all(re.search(r"\d", c) for c in found) else found
        numbered = self._numbered(name)
        if not numbered:
            self._recommend_probs(name)
        return numbered or [name]

    def _recommend_probs(self, missing: str) -> None:
        """Refuse to look for logits in a file that has probabilities by name."""
        form = r"(p|prob|probs|probability|probabilities)_?\d*"
        found = [n for n in self._file.names if re.fullmatch(form, n)]
        if found:
            shown = ", ".join(self._file.names[:20])
            raise InputError(
                f"no column {missing!r} (it has {shown}); if {found[0]!r} holds probabilities, say so with"
                f" ColumnNames(probs={'+'.join(found)!r})"
            )

    def _numbered(self, name: str) -> list[str]:
        """Return ``name_0``, ``name_1``, ...; a gap would give every later class another's label."""
        form = re.compile(rf"{re.escape(name)}_(0|[1-9][0-9]{{0,8}})")
        places = {int(found[1]) for n in self._file.names if (found := form.fullmatch(n))}
        if places and max(places) >= len(places):
            missing = next(place for place in range(len(places)) if place not in places)
            raise InputError(
                f"there is no column {name}_{missing} beside {name}_{max(places)}; classes are counted from 0"
                " without a gap: name the columns in their order, as in ColumnNames(logits='a+b+c')"
            )
        return [f"{name}_{place}" for place in sorted(places)]

    def _ids(self, n_rows: int) -> Any:
        self._refuse_mixed(n_rows)
        if self._names.row_ids:
            n_all = n_rows if isinstance(self._mask, slice) else len(self._mask)
            return np.arange(n_all)[self._mask].astype(str)
        name = self._names.item_id or "item_id"
        if name not in self._file and "+" in name:
            parts = [cells(self._column(part)) for part in name.split("+")]
            return ["/".join(values) for values in zip(*parts, strict=True)]
        if name not in self._file:
            raise InputError(
                f"no column {name!r} (it has {', '.join(self._file.names[:20])}); map it with"
                " ColumnNames(item_id='NAME'), or number the rows with ColumnNames(row_ids=True) if every"
                " file has them in the same order"
            )
        values = _flat(self._column(name))
        whole = isinstance(values, np.ndarray) and values.dtype.kind == "f" and (values % 1 == 0).all()
        return values.astype(np.int64) if whole else values

    def _column(self, name: str) -> Any:
        values = self._file.column(name)
        if not len(values):
            raise InputError("holds no rows; write it again, or give another file")
        if isinstance(self._mask, slice):
            return values
        if len(values) != len(self._mask):
            raise InputError(
                f"{name} has {len(values)} rows, and the columns of ColumnNames(where=...) {len(self._mask)}"
            )
        if isinstance(values, np.ndarray):
            return values[self._mask]
        return [values[row] for row in np.flatnonzero(self._mask)]

    def _wanted(self) -> Any:
        mask: Any = slice(None)
        for name, value in self._names.where.items():
            column = [_shown(v) for v in self._file.column(name)]
            same = np.array([value in ("*", v) for v in column])
            if not same.any():
                held = sorted(set(column))[:10]
                raise InputError(
                    f"{self._file.path}: no row has {name}={value}; choose one of {', '.join(held)}"
                )
            mask = same if isinstance(mask, slice) else mask & same
        if not isinstance(mask, slice) and not mask.any():
            raise InputError(f"{self._file.path}: no row has all of {dict(self._names.where)}")
        return mask

    def _refuse_mixed(self, n_rows: int) -> None:
        used = {value for value in vars(self._names).values() if isinstance(value, str)}
        n_all = n_rows if isinstance(self._mask, slice) else len(self._mask)
        for name in self._file.names:
            if name in self._names.where or name in used or not _RUN.fullmatch(name):
                continue
            column = self._file.load(name)
            if len(column) != n_all:
                continue
            held = {_shown(v) for v, wanted in zip(column, self._flags(n_all), strict=True) if wanted}
            if len(held) > 1:
                shown = ", ".join(sorted(held)[:5])
                raise InputError(
                    f"{self._file.path}: mixes {len(held)} values of {name} ({shown}); a record is of one:"
                    f" choose with ColumnNames(where={{{name!r}: 'VALUE'}}), or pool them on purpose with"
                    f" ColumnNames(where={{{name!r}: '*'}})"
                )

    def _flags(self, n_rows: int) -> Any:
        return np.ones(n_rows, dtype=bool) if isinstance(self._mask, slice) else self._mask

    def _check_names(self) -> None:
        names = self._names
        names.refuse_contradictions()
        for field in ("item_id", "label", "confidence", "correct", "predicted", "positive", "cluster_id"):
            name = getattr(names, field)
            if name and name not in self._file and not (field == "item_id" and "+" in name):
                self._file.column(name)  # says what there is


def labels_of(path: Path, rows: Sequence[Mapping[str, Any]], names: ColumnNames, *, n_classes: int) -> Int64:
    """Return the labels ``(n,)`` of rows whose scores were read elsewhere."""
    columns = {
        name: [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)
    }
    file = ColumnFile(path, tuple(columns), columns.__getitem__)
    declared = Declared(names.classes, names.label_start)
    try:
        labels, _ = class_indices(file.column(names.label or "label"), n_classes, declared)
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
    return labels


def _flat(values: Any) -> Any:
    """Return a column of single values without the brackets around each."""
    if isinstance(values, np.ndarray):
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]


def _naturally(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _shown(value: Any) -> str:
    return (
        str(int(value))
        if isinstance(value, float | np.floating) and float(value).is_integer()
        else str(value)
    )
