"""Arrays of answers: their types, softmax, and the one place where they are checked."""

from __future__ import annotations

from collections.abc import Iterable
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

# So many rows of logits do not all sum to 1 by chance.
_SURELY_PROBABILITIES = 10
# What a sum of probabilities may miss 1 by if they were written with two digits.
_ROUNDED = 0.02


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
        total = values[row].sum()
        remedy = "pass softmax(logits), or build a Predictions from the logits"
        raise InputError(
            f"probs[{row}] sums to {total:.4g} and spans [{values[row].min():.4g}, {values[row].max():.4g}];"
            f" {'divide percents by 100' if 99 < total < 101 else remedy}"
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
        known = values[~np.isnan(values)]
        hint = "mend or drop the row"
        if 2 <= known.max(initial=0) <= 100:
            hint = "divide percents by 100 (in a file, ColumnNames(percent=True))"
        elif known.size and known.max() <= 0:
            hint = "of log-probabilities write exp into the file"
        raise InputError(f"confidences[{row}] = {values[row]} is outside [0, 1]; {hint}")
    return np.minimum(values, 1.0)


def check_correct(correct: npt.ArrayLike, n_samples: int) -> Bool:
    """Return ``correct`` as bool ``(n,)``; the numbers 0 and 1 are accepted."""
    values = np.asarray(correct)
    if values.shape != (n_samples,):
        raise InputError(f"correct has shape {values.shape}; expected ({n_samples},)")
    if values.dtype.kind != "b":
        odd = ~np.isin(values, (0, 1))
        if values.dtype.kind not in "iuf" or odd.any():
            row = int(np.argmax(odd))
            raise InputError(
                f"correct has dtype {values.dtype} and correct[{row}] is {values[row]!s:.80}; pass booleans,"
                " or the numbers 0 and 1"
            )
        values = values.astype(bool)
    return values.copy()


def _float_array(values: npt.ArrayLike, name: str) -> Float64:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's are RuntimeErrors
        raise InputError(
            f"{name} is not a rectangular array of numbers: {_at_fault(values, error)}"
        ) from None


def _at_fault(values: Any, error: Exception) -> str:
    """Say which row holds something else than numbers, or what numpy says of the whole."""
    rows = values.tolist() if isinstance(values, np.ndarray) else values
    for row, value in enumerate(rows if isinstance(rows, list | tuple) else ()):
        try:
            np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError):  # noqa: PERF203 (only where something is wrong)
            hint = (
                "write 48.6% as 0.486, or in a file add ColumnNames(percent=True)"
                if "%" in str(value)
                else "mend or drop it"
            )
            return f"row {row} is {str(value)[:80]!r}; {hint}"
    return str(error)


def checked_ids(item_ids: Iterable[object]) -> Strings:
    """Return ids ``(n,)`` as strings, or say which row has none of its own."""
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
        f" ({len(ids) - len(unique)} repeated in all): join columns that tell them apart (in a file,"
        " ColumnNames(item_id='id+trial')), or choose rows with ColumnNames(where=...)"
    )


def checked_logits(logits: npt.ArrayLike, n_samples: int) -> Float32:
    """Return logits as float32 ``(n, k)`` in which only ``-inf`` pads, or say which row is not."""
    try:
        given = np.asarray(logits)
        with np.errstate(over="ignore"):
            values = np.array(given, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's are RuntimeErrors
        raise InputError(
            f"logits is not a rectangular array of numbers ({_at_fault(logits, error)}); pad ragged option"
            " counts with -inf"
        ) from None
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(f"logits has shape {values.shape}; pass (n_samples, n_classes), 2 classes or more")
    if len(values) != n_samples:
        raise InputError(f"logits has {len(values)} rows but there are {n_samples} item_ids")
    _refuse_too_large(given, values)
    bad = np.isnan(values).any(axis=1) | (values == np.inf).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"logits[{row}] = {values[row].tolist()} holds NaN or +inf; only -inf may pad a row")
    empty = ~np.isfinite(values).any(axis=1)
    if empty.any():
        raise InputError(f"logits[{int(np.argmax(empty))}] is -inf throughout; drop the item")
    _refuse_probabilities(values)
    return values


def _refuse_too_large(given: npt.NDArray[Any], values: Float32) -> None:
    """Refuse finite logits that float32 has no number for; -1e39 would become an option that is absent."""
    infinite = np.isinf(values)
    if not infinite.any():
        return
    grown = infinite & np.isfinite(given.astype(np.float64))
    if grown.any():
        row, column = np.argwhere(grown)[0]
        raise InputError(
            f"logits[{row}] holds {given[row, column]}, beyond what float32 can hold; mend the row, or pad"
            " with -inf where an option is absent"
        )


def _refuse_probabilities(logits: Float32) -> None:
    """Refuse logits that are probabilities in every row, which in a few rows may be chance."""
    if len(logits) < _SURELY_PROBABILITIES or not _are_probabilities(logits[:_SURELY_PROBABILITIES]):
        return
    if _are_probabilities(logits):
        raise InputError(
            "logits are probabilities (every row lies in [0, 1] and sums to 1), and softmax would flatten"
            " them; use Predictions.from_probs, or ColumnNames(probs='NAME') for a file"
        )


def _are_probabilities(rows: Float32) -> bool:
    present = np.where(np.isneginf(rows), 0, rows)
    sums = present.sum(axis=1, dtype=np.float64)
    return bool((present >= 0).all() and (np.abs(sums - 1) <= _ROUNDED).all())


def checked_option_labels(labels: npt.ArrayLike, logits: Float32) -> Int64:
    """Return labels as int64 ``(n,)`` that point at options with a logit, or say which row does not."""
    values = check_labels(labels, len(logits), logits.shape[1])
    padded = ~np.isfinite(logits[np.arange(len(values)), values])
    if padded.any():
        row = int(np.argmax(padded))
        raise InputError(
            f"labels[{row}] = {values[row]} points at an option whose logit is -inf;"
            " the right answer must be among the item's options"
        )
    return values


def checked_clusters(cluster_ids: Iterable[object] | None, n_samples: int) -> Strings | None:
    """Return the cluster of each item as strings ``(n,)``, or say what is missing; None stays None."""
    if cluster_ids is None:
        return None
    given = list(cluster_ids)
    if len(given) != n_samples:
        raise InputError(f"cluster_ids has {len(given)} values for {n_samples} items; give one an item")
    empty = next((row for row, value in enumerate(given) if value is None or not str(value).strip()), None)
    if empty is not None:
        raise InputError(f"cluster_ids[{empty}] is {given[empty]!r}; give every item the name of its cluster")
    return np.array([str(value) for value in given], dtype=np.str_)


def checked_distribution(values: npt.ArrayLike | None, n_samples: int, n_classes: int) -> Float64 | None:
    """Return shares of the classes ``(n, k)`` that sum to one, or say which row does not; None stays None."""
    if values is None:
        return None
    shares = np.asarray(values, dtype=np.float64)
    if shares.shape != (n_samples, n_classes):
        raise InputError(
            f"label_distribution has shape {shares.shape}; expected ({n_samples}, {n_classes}), a share of"
            " each class an item"
        )
    try:
        checked = check_probs(shares)
    except InputError as error:
        raise InputError(f"label_distribution: {error}") from None
    sums = checked.sum(axis=1, keepdims=True)
    checked = np.where(np.abs(sums - 1) > 1e-12, checked / sums, checked)
    checked.setflags(write=False)
    return checked
