"""The two records that everything after inference is a function of; the one place arrays are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError

FloatArray = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model at one precision said about one task: a full class vector per item.

    Parameters
    ----------
    item_ids : (n,) strings or integers
        Unique; rows of two records are matched by these, never by position.
    logits : (n, k) float
        Logits or log-probabilities, stored as float32. Where items have fewer than ``k`` options
        the rest is ``-inf``; every row needs at least one finite value.
    labels : (n,) int
        Index of the right class, from 0; must point at a finite logit.
    metadata : mapping, optional
        JSON-like facts about where the record comes from.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    Examples
    --------
    >>> record = Predictions(["a", "b"], [[2.0, 0.0], [0.0, 1.0]], [0, 0])
    >>> record.probs.round(3).tolist()
    [[0.881, 0.119], [0.269, 0.731]]
    >>> record.take(["b"]).correct.tolist()
    [False]
    """

    item_ids: Strings
    logits: Float32
    labels: Int64
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        item_ids: Iterable[object],
        logits: npt.ArrayLike,
        labels: npt.ArrayLike,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        ids = _checked_ids(item_ids)
        checked = _checked_logits(logits, len(ids))
        _set(
            self,
            item_ids=ids,
            logits=_frozen(checked),
            labels=_frozen(_checked_labels(labels, checked)),
            metadata=MappingProxyType(dict(metadata or {})),
        )

    @classmethod
    def from_probs(
        cls,
        item_ids: Iterable[object],
        probs: npt.ArrayLike,
        labels: npt.ArrayLike,
        metadata: Mapping[str, Any] | None = None,
    ) -> Predictions:
        """Build a record from probabilities ``(n, k)``; each row must sum to one within 1e-3.

        A probability of exactly 0 becomes a logit of ``-inf``. Log-probabilities are stored as
        float32, so ``probs`` comes back to within about 1e-6.
        """
        values = check_probs(probs)
        with np.errstate(divide="ignore"):
            return cls(item_ids, np.log(values), labels, metadata)

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        item_id: str = "item_id",
        label: str = "label",
        logits: str | Sequence[str] = "logits",
    ) -> Predictions:
        """Read a parquet, jsonl, csv, npz or safetensors file; the format follows the suffix.

        Parameters
        ----------
        path
            The file.
        item_id, label
            Names of the columns (or arrays) that hold the ids and the 0-based labels.
        logits
            Name of a column that holds a list per row, or the names of one column per class.

        Raises
        ------
        InputError
            The file, the row and the remedy are named.
        """
        from calbench.record_files import read_predictions

        return read_predictions(Path(path), item_id=item_id, label=label, logits=logits)

    def write(self, path: str | Path) -> None:
        """Write the record, atomically, in the format that the suffix names (see :meth:`read`)."""
        from calbench.record_files import write_record

        write_record(self, Path(path))

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def n_classes(self) -> int:
        """Number of columns, the widest item's option count."""
        return int(self.logits.shape[1])

    @cached_property
    def probs(self) -> Float64:
        """Softmax of the logits, taken in float64, ``(n, k)``."""
        return _frozen(softmax(self.logits))

    @cached_property
    def predicted(self) -> Int64:
        """Index of the largest logit; the first wins a tie, ``(n,)``."""
        return _frozen(np.argmax(self.logits, axis=1).astype(np.int64))

    @cached_property
    def confidences(self) -> Float64:
        """Probability of the predicted class, ``(n,)``."""
        return _frozen(np.max(self.probs, axis=1))

    @cached_property
    def correct(self) -> Bool:
        """Whether the predicted class is the label, ``(n,)``."""
        return _frozen(self.predicted == self.labels)

    @property
    def items_hash(self) -> str:
        """SHA-256 over the sorted ids and their labels: equal for the same items in any order."""
        return _hash_items(self.item_ids, self.labels)

    def take(self, item_ids: Iterable[object]) -> Predictions:
        """Return the rows with these ids, in this order."""
        rows = _rows(self.item_ids, _checked_ids(item_ids))
        return Predictions(self.item_ids[rows], self.logits[rows], self.labels[rows], self.metadata)

    def with_metadata(self, metadata: Mapping[str, Any]) -> Predictions:
        """Return the same predictions with other metadata."""
        copy = object.__new__(Predictions)
        _set(
            copy,
            item_ids=self.item_ids,
            logits=self.logits,
            labels=self.labels,
            metadata=MappingProxyType(dict(metadata)),
        )
        return copy

    def to_top_label(self) -> TopLabelPredictions:
        """Keep the top-1 confidence and correctness only."""
        return TopLabelPredictions(self.item_ids, self.confidences, self.correct, self.metadata)


@dataclass(frozen=True, eq=False)
class TopLabelPredictions:
    """Only the top answer's confidence and whether it was right, per item.

    Parameters
    ----------
    item_ids : (n,) strings or integers
        Unique.
    confidences : (n,) float
        In [0, 1], float64.
    correct : (n,) bool
        Booleans, or the integers 0 and 1.
    metadata : mapping, optional
        JSON-like facts about where the record comes from.
    """

    item_ids: Strings
    confidences: Float64
    correct: Bool
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        item_ids: Iterable[object],
        confidences: npt.ArrayLike,
        correct: npt.ArrayLike,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        ids = _checked_ids(item_ids)
        _set(
            self,
            item_ids=ids,
            confidences=_frozen(check_confidences(confidences, len(ids))),
            correct=_frozen(check_correct(correct, len(ids))),
            metadata=MappingProxyType(dict(metadata or {})),
        )

    @classmethod
    def read(cls, path: str | Path, **columns: str | None) -> TopLabelPredictions:
        """Read a parquet, jsonl, json, csv, npz or safetensors file.

        Parameters
        ----------
        path
            The file.
        columns
            Names of the columns where they differ from ``item_id``, ``confidence`` and ``correct``;
            instead of ``correct``, ``predicted`` and ``label`` may be given, to be compared.

        Raises
        ------
        InputError
            The file, the row and the remedy are named.
        """
        from calbench.record_files import ColumnNames, read_record

        record = read_record(Path(path), ColumnNames(**columns), kind=cls)  # type: ignore[arg-type]
        assert isinstance(record, cls)  # noqa: S101 (asked for above)
        return record

    def write(self, path: str | Path) -> None:
        """Write the record, atomically, in the format that the suffix names."""
        from calbench.record_files import write_record

        write_record(self, Path(path))

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def items_hash(self) -> str:
        """SHA-256 over the sorted ids: equal for the same items in any order."""
        return _hash_items(self.item_ids, None)

    def with_metadata(self, metadata: Mapping[str, Any]) -> TopLabelPredictions:
        """Return the same predictions with other metadata."""
        copy = object.__new__(TopLabelPredictions)
        _set(
            copy,
            item_ids=self.item_ids,
            confidences=self.confidences,
            correct=self.correct,
            metadata=MappingProxyType(dict(metadata)),
        )
        return copy

    def take(self, item_ids: Iterable[object]) -> TopLabelPredictions:
        """Return the rows with these ids, in this order."""
        rows = _rows(self.item_ids, _checked_ids(item_ids))
        return TopLabelPredictions(
            self.item_ids[rows], self.confidences[rows], self.correct[rows], self.metadata
        )


def softmax(logits: npt.ArrayLike) -> Float64:
    """Probabilities ``(n, k)`` of logits ``(n, k)``, in float64; ``-inf`` gives exactly 0."""
    z = np.asarray(logits, dtype=np.float64)
    e: Float64 = np.exp(z - z.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def check_probs(probs: npt.ArrayLike) -> Float64:
    """Return ``probs`` as float64 ``(n, k)``, or say which row is no distribution."""
    values = _float_array(probs, "probs")
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(
            f"probs has shape {values.shape}; pass (n_samples, n_classes) with 2 classes or more"
            " (for a binary p pass np.column_stack([1 - p, p]))"
        )
    if len(values) == 0:
        raise InputError("probs is empty; there is nothing to measure")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"probs[{row}] = {values[row].tolist()} is not finite; drop or mend the row")
    bad = ((values < 0) | (values > 1 + 1e-9)).any(axis=1)
    bad |= np.abs(values.sum(axis=1) - 1) > 1e-3
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"probs[{row}] sums to {values[row].sum():.4g} and spans"
            f" [{values[row].min():.4g}, {values[row].max():.4g}];"
            " pass softmax(logits), or build a Predictions from the logits"
        )
    return values


def check_labels(labels: npt.ArrayLike, n_samples: int, n_classes: int) -> Int64:
    """Return ``labels`` as int64 ``(n,)`` in ``[0, n_classes)``, or say which row is not."""
    values = np.asarray(labels)
    if values.ndim != 1 or len(values) != n_samples:
        raise InputError(f"labels has shape {values.shape}; expected ({n_samples},)")
    if values.dtype.kind not in "iu":
        raise InputError(
            f"labels has dtype {values.dtype}; pass integer class indices from 0"
            " (labels.astype(int) if they are whole numbers)"
        )
    bad = (values < 0) | (values >= n_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"labels[{row}] = {values[row]} is outside [0, {n_classes}); labels are 0-based column indices"
        )
    return values.astype(np.int64)


def check_confidences(confidences: npt.ArrayLike, n_samples: int | None = None) -> Float64:
    """Return ``confidences`` as float64 ``(n,)`` in [0, 1], or say which row is not."""
    values = _float_array(confidences, "confidences")
    if values.ndim != 1 or (n_samples is not None and len(values) != n_samples):
        expected = "(n_samples,)" if n_samples is None else f"({n_samples},)"
        raise InputError(f"confidences has shape {values.shape}; expected {expected}")
    if len(values) == 0:
        raise InputError("confidences is empty; there is nothing to measure")
    bad = ~((values >= 0) & (values <= 1 + 1e-9))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"confidences[{row}] = {values[row]} is outside [0, 1]")
    return np.minimum(values, 1.0)


def check_correct(correct: npt.ArrayLike, n_samples: int) -> Bool:
    """Return ``correct`` as bool ``(n,)``; the integers 0 and 1 are accepted."""
    values = np.asarray(correct)
    if values.shape != (n_samples,):
        raise InputError(f"correct has shape {values.shape}; expected ({n_samples},)")
    if values.dtype.kind != "b":
        if values.dtype.kind not in "iu" or not np.isin(values, (0, 1)).all():
            raise InputError(f"correct has dtype {values.dtype}; pass booleans, or the integers 0 and 1")
        values = values.astype(bool)
    return values.copy()


def _float_array(values: npt.ArrayLike, name: str) -> Float64:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not a rectangular array of numbers: {error}") from None


def _checked_ids(item_ids: Iterable[object]) -> Strings:
    raw: list[Any] = item_ids.tolist() if isinstance(item_ids, np.ndarray) else list(item_ids)
    if not raw:
        raise InputError("item_ids is empty; a record needs at least one item")
    if not all(type(value) is str and value for value in raw):
        for row, value in enumerate(raw):
            if not isinstance(value, str | int | np.integer) or isinstance(value, bool) or value == "":
                raise InputError(f"item_ids[{row}] = {value!r}; ids are non-empty strings or integers")
        raw = [str(value) for value in raw]
    try:
        "".join(raw).encode()
    except UnicodeEncodeError:
        raise InputError("item_ids hold half of a surrogate pair, which no file can; mend the text") from None
    ids = np.array(raw)
    # numpy drops NULs at the end of a text, so what it keeps is what must be unique.
    distinct = set(ids.tolist())
    if len(distinct) != len(ids) or "" in distinct:
        _refuse_repeated(ids)
    ids.setflags(write=False)
    return ids


def _refuse_repeated(ids: Strings) -> None:
    unique, counts = np.unique(ids, return_counts=True)
    repeated = unique[np.argmax(counts > 1)]
    if counts.max() == 1:
        raise InputError(f"item_ids[{int(np.argmax(ids == ''))}] is empty; ids are non-empty strings")
    row = int(np.flatnonzero(ids == repeated)[1])
    raise InputError(
        f"item_ids[{row}] = {str(repeated)!r} appears twice; ids must be unique"
        f" ({len(ids) - len(unique)} repeated in all)"
    )


def _checked_logits(logits: npt.ArrayLike, n_samples: int) -> Float32:
    try:
        values = np.array(logits, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"logits is not a rectangular array of numbers ({error}); pad ragged option counts with -inf"
        ) from None
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(f"logits has shape {values.shape}; pass (n_samples, n_classes), 2 classes or more")
    if len(values) != n_samples:
        raise InputError(f"logits has {len(values)} rows but there are {n_samples} item_ids")
    bad = np.isnan(values).any(axis=1) | (values == np.inf).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"logits[{row}] = {values[row].tolist()} holds NaN or +inf; only -inf may pad a row")
    empty = ~np.isfinite(values).any(axis=1)
    if empty.any():
        raise InputError(f"logits[{int(np.argmax(empty))}] is -inf throughout; drop the item")
    return values


def _checked_labels(labels: npt.ArrayLike, logits: Float32) -> Int64:
    values = check_labels(labels, len(logits), logits.shape[1])
    padded = ~np.isfinite(logits[np.arange(len(values)), values])
    if padded.any():
        row = int(np.argmax(padded))
        raise InputError(
            f"labels[{row}] = {values[row]} points at an option whose logit is -inf;"
            " the right answer must be among the item's options"
        )
    return values


def _rows(ids: Strings, wanted: Strings) -> npt.NDArray[np.intp]:
    order = np.argsort(ids)
    places = np.searchsorted(ids, wanted, sorter=order)
    rows: npt.NDArray[np.intp] = order[np.minimum(places, len(ids) - 1)]
    missing = ids[rows] != wanted
    if missing.any():
        raise InputError(
            f"the record has no item {str(wanted[np.argmax(missing)])!r}"
            f" ({int(missing.sum())} of {len(wanted)} ids are missing)"
        )
    return rows


def _hash_items(item_ids: Strings, labels: Int64 | None) -> str:
    order = np.argsort(item_ids)
    digest = hashlib.sha256("\x00".join(item_ids[order].tolist()).encode())
    if labels is not None:
        digest.update(labels[order].astype("<i8").tobytes())
    return digest.hexdigest()


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


def _set(record: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(record, name, value)
