"""The two records that everything after inference is a function of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.records._arrays import (
    Bool,
    Float32,
    Float64,
    Int64,
    Strings,
    check_confidences,
    check_correct,
    check_labels,
    check_probs,
    checked_clusters,
    checked_distribution,
    checked_ids,
    checked_logits,
    checked_option_labels,
    softmax,
)
from calbench.records._names import ColumnNames

_LEAST_LOG_PROB = float(np.log(np.finfo(np.float64).tiny))
_files: dict[str, Callable[..., Any]] = {}


def in_files(*, read: Callable[..., Any], write: Callable[..., Any]) -> None:
    """Say how records are read and written: what does it makes records, and so stands above them."""
    _files.update(read=read, write=write)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model at one precision said about one task: a full class vector per item.

    Parameters
    ----------
    item_ids : (n,) strings or integers
        Unique; rows of two records are matched by these, never by position.
    logits : (n, k) float
        Logits or log-probabilities, stored as float32. Where items have fewer than ``k`` options
        the rest is ``-inf``; every row needs at least one finite value. Ten rows or more that are
        all probabilities are refused: see :meth:`from_probs`.
    labels : (n,) int
        Index of the right class, from 0; must point at a finite logit.
    metadata : mapping, optional
        JSON-like facts about where the record comes from.
    cluster_ids : (n,) strings or integers, optional
        What was sampled with each item: its passage, document or question. Splits never divide a cluster,
        and intervals take it as one unit.
    label_distribution : (n, k) float, optional
        How many of the people who were asked gave each class, as shares: what "soft" metrics compare with.

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
    cluster_ids: Strings | None = None
    label_distribution: Float64 | None = None

    def __init__(
        self,
        item_ids: Iterable[object],
        logits: npt.ArrayLike,
        labels: npt.ArrayLike,
        metadata: Mapping[str, Any] | None = None,
        *,
        cluster_ids: Iterable[object] | None = None,
        label_distribution: npt.ArrayLike | None = None,
    ) -> None:
        ids = checked_ids(item_ids)
        checked = checked_logits(logits, len(ids))
        _set(
            self,
            item_ids=ids,
            logits=_frozen(checked),
            labels=_frozen(checked_option_labels(labels, checked)),
            metadata=MappingProxyType(dict(metadata or {})),
            cluster_ids=checked_clusters(cluster_ids, len(ids)),
            label_distribution=checked_distribution(label_distribution, *checked.shape),
        )

    @classmethod
    def from_probs(
        cls,
        item_ids: Iterable[object],
        probs: npt.ArrayLike,
        labels: npt.ArrayLike,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Predictions:
        """Build a record from probabilities ``(n, k)``; each row must sum to one within 1e-3.

        A probability of exactly 0 becomes a logit of ``-inf``, an option that is not there; that of
        the right class becomes log(2**-1022), since this option is there. Log-probabilities are
        stored as float32, so ``probs`` comes back to within about 1e-6. ``more`` are clusters and label
        distributions, as for the class itself.
        """
        values = check_probs(probs)
        right = check_labels(labels, *values.shape)
        with np.errstate(divide="ignore"):
            logits = np.log(values)
        rows = np.arange(len(values))
        logits[rows, right] = np.maximum(logits[rows, right], _LEAST_LOG_PROB)
        return cls(item_ids, logits, right, metadata, **more)

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        item_id: str = "item_id",
        label: str = "label",
        logits: str | Sequence[str] = "logits",
    ) -> Predictions:
        """Read a parquet, jsonl, json, csv, npz or safetensors file; the format follows the suffix.

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
        as_named = (item_id, label, logits) == ("item_id", "label", "logits")
        names = ColumnNames() if as_named else ColumnNames(item_id=item_id, label=label, logits=logits)
        return _read(path, names, cls)

    def write(self, path: str | Path) -> None:
        """Write the record, atomically, as the suffix says: .parquet, .jsonl, .csv, .npz or .safetensors.

        csv keeps no metadata. The others do, and a checksum that is verified when they are read.
        """
        _files["write"](self, Path(path))

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
        return _taken(self, item_ids)

    def with_metadata(self, metadata: Mapping[str, Any]) -> Predictions:
        """Return the same predictions with other metadata."""
        return _with(self, metadata=MappingProxyType(dict(metadata)))

    def described(
        self, cluster_ids: Iterable[object] | None, label_distribution: npt.ArrayLike | None = None
    ) -> Predictions:
        """Return the same predictions with what is known of how their items were drawn and rated."""
        return _with(
            self,
            cluster_ids=checked_clusters(cluster_ids, len(self)),
            label_distribution=checked_distribution(label_distribution, *self.logits.shape),
        )

    def to_top_label(self) -> TopLabelPredictions:
        """Keep the top-1 confidence and correctness only."""
        return TopLabelPredictions(
            self.item_ids, self.confidences, self.correct, self.metadata, cluster_ids=self.cluster_ids
        )


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
    answers : (n,) strings, optional
        What was answered, to tell which answers another model changes. Not written to files.
    cluster_ids : (n,) strings or integers, optional
        As in :class:`Predictions`.
    """

    item_ids: Strings
    confidences: Float64
    correct: Bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    answers: Strings | None = None
    cluster_ids: Strings | None = None

    def __init__(
        self,
        item_ids: Iterable[object],
        confidences: npt.ArrayLike,
        correct: npt.ArrayLike,
        metadata: Mapping[str, Any] | None = None,
        *,
        answers: Iterable[str] | None = None,
        cluster_ids: Iterable[object] | None = None,
    ) -> None:
        ids = checked_ids(item_ids)
        texts = None if answers is None else np.array(list(answers), dtype=np.str_)
        if texts is not None and texts.shape != ids.shape:
            raise InputError(f"there are {len(texts)} answers for {len(ids)} item_ids")
        _set(
            self,
            item_ids=ids,
            confidences=_frozen(check_confidences(confidences, len(ids))),
            correct=_frozen(check_correct(correct, len(ids))),
            metadata=MappingProxyType(dict(metadata or {})),
            answers=None if texts is None else _frozen(texts),
            cluster_ids=checked_clusters(cluster_ids, len(ids)),
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
        return _read(path, ColumnNames(**columns), cls)  # type: ignore[arg-type]

    def write(self, path: str | Path) -> None:
        """Write the record, atomically; see :meth:`Predictions.write`."""
        _files["write"](self, Path(path))

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def items_hash(self) -> str:
        """SHA-256 over the sorted ids: equal for the same items in any order."""
        return _hash_items(self.item_ids, None)

    def with_metadata(self, metadata: Mapping[str, Any]) -> TopLabelPredictions:
        """Return the same predictions with other metadata."""
        return _with(self, metadata=MappingProxyType(dict(metadata)))

    def described(
        self, cluster_ids: Iterable[object] | None, label_distribution: object = None
    ) -> TopLabelPredictions:
        """Return the same predictions with what is known of how their items were drawn."""
        del label_distribution  # there is no probability of a class to compare it with
        return _with(self, cluster_ids=checked_clusters(cluster_ids, len(self)))

    def take(self, item_ids: Iterable[object]) -> TopLabelPredictions:
        """Return the rows with these ids, in this order."""
        return _taken(self, item_ids)


AnyRecord = Predictions | TopLabelPredictions
_Record = TypeVar("_Record", Predictions, TopLabelPredictions)


def _read(path: str | Path, names: ColumnNames, kind: type[_Record]) -> _Record:
    record = _files["read"](Path(path), names, kind=kind)
    assert isinstance(record, kind)  # noqa: S101 (asked for)
    return record


def _taken(record: _Record, item_ids: Iterable[object]) -> _Record:
    """Return rows of a record; what was checked once is not checked again."""
    rows = _rows(record.item_ids, checked_ids(item_ids))
    arrays = {f.name: v for f in fields(record) if isinstance(v := getattr(record, f.name), np.ndarray)}
    return _with(record, **{name: _frozen(array[rows]) for name, array in arrays.items()})


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


def _with(record: _Record, **values: object) -> _Record:
    """A record with some fields replaced by what is known to be right."""
    copy: _Record = object.__new__(type(record))
    _set(copy, **{one.name: getattr(record, one.name) for one in fields(record)} | values)
    return copy


def _set(record: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(record, name, value)
