"""Class vectors of a table: a column of lists, one column a class, scores by name, or a binary score."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.records._arrays import Float64

_ROUNDED = 0.02  # what a sum of probabilities may miss 1 by if they were written with two digits
_PERCENTS = 1.0  # and a sum of percents 100
_WRITTEN = re.compile(r"\s*-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*|\s*-inf\s*", re.IGNORECASE)
_DRESS = " ()[]{}*.:,\"'`_"  # what servers' tokens have around an option's letter
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Scores:
    """The scores of each class.

    Attributes
    ----------
    values
        ``(n, k)``; -inf where an item has not that option.
    classes
        Their names, if the columns or keys have any.
    ordered
        Whether the file says in which order they are, which numbers need.
    """

    values: Float64
    classes: tuple[str, ...] = ()
    ordered: bool = True


def named_columns(columns: Mapping[str, Any]) -> Scores:
    """Join one column a class; what their names do not share names the classes."""
    parts = []
    for name, column in columns.items():
        values = np.asarray(column)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise InputError(f"{name} has shape {values.shape}; a column of one class holds a number a row")
        try:
            parts.append(values.astype(np.float64))
        except (TypeError, ValueError):
            row = next(row for row, value in enumerate(values.tolist()) if not _is_float(value))
            raise InputError(
                f"row {row}: {name} = {values.tolist()[row]!r} is no number; fill it in"
            ) from None
    return Scores(np.column_stack(parts), _class_names([*columns]))


def _shared_beginning(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    n = next((i for i, letter in enumerate(first) if letter != last[i : i + 1]), len(first))
    return first[:n]


def _class_names(names: list[str]) -> tuple[str, ...]:
    """Return what the names of class columns do not share: ``prob_neg``, ``prob_pos`` are neg and pos."""

    def bare(texts: list[str]) -> list[str]:
        shared = _shared_beginning(texts)
        if not all(text[len(shared) :].isdecimal() for text in texts):
            shared = shared[: max(map(shared.rfind, "_.- ([{:=>)]}<")) + 1]
        return [text[len(shared) :] for text in texts]

    stripped = [text[::-1] for text in bare([text[::-1] for text in bare(names)])]
    return tuple(stripped) if all(stripped) and len(set(stripped)) == len(stripped) else tuple(names)


def scores_of(
    values: Any, name: str, classes: tuple[str, ...], *, are_probs: bool = False, percent: bool = False
) -> Scores:
    """Return the scores that one column holds: numbers, lists of them, or scores by name."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        if values.ndim == 3 and values.shape[1] == 1:  # a batch of one item a row
            values = values[:, 0]
        if values.ndim > 2:
            raise InputError(
                f"{name} has shape {values.shape}; save one array (n_samples, n_classes), or name another"
                " column, as in ColumnNames(logits='NAME')"
            )
        return Scores(values.reshape(len(values), -1).astype(np.float64, copy=False))
    rows = [_parsed(row) for row in (values.tolist() if isinstance(values, np.ndarray) else values)]
    if rows and all(isinstance(row, str) and re.fullmatch(r"\s*[\d.,]+\s*%\s*", row) for row in rows):
        if not percent:
            raise InputError(f"row 0: {name} = {rows[0]!r} is a percent; add ColumnNames(percent=True)")
        rows = [float(row.strip("% \t").replace(",", ".")) for row in rows]
    if rows and all(isinstance(row, dict) or _is_named_list(row) for row in rows):
        add = _sum if are_probs else np.logaddexp
        return _by_name([_named(row, add) for row in rows], name, classes)
    lists = [row if isinstance(row, list) else [row] for row in rows]
    if lists and all(len(row) == 1 and isinstance(row[0], list) for row in lists):
        lists = [row[0] for row in lists]  # a batch of one item a row
    lists = [list(map(_numeric, row)) for row in lists]
    for place, row in enumerate(lists):
        if not all(map(_is_number, row)) or not row:
            raise InputError(
                f"row {place}: {name} = {str(rows[place])[:80]!r} is not a list of numbers; say where"
                f" they stand, as in ColumnNames(logits='{name}[][0]') or"
                f" ColumnNames(logits='{name}[].logprob'), or drop the row"
            )
    width = max(map(len, lists), default=0)
    return Scores(np.array([[*map(float, row), *[-np.inf] * (width - len(row))] for row in lists]))


def _is_float(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _numeric(value: Any) -> Any:
    """Return a number that was written as a text, as some harnesses do; anything else as it is."""
    return float(value) if isinstance(value, str) and _WRITTEN.fullmatch(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parsed(row: Any) -> Any:
    """Return what a text holds: JSON, or numbers as numpy and torch print them."""
    if not isinstance(row, str):
        return row.tolist() if isinstance(row, np.ndarray) else row
    try:
        return json.loads(row)
    except ValueError:
        pass
    inside = re.fullmatch(r"\s*(?:tensor\(|array\()?\[([^\[\]]*)\][^\[\]]*", row)
    parts = (inside[1] if inside else row).replace(",", " ").split()
    try:
        return [float(part) for part in parts] if inside or len(parts) > 1 else row
    except ValueError:
        return _python_literal(row)


def _python_literal(text: str) -> Any:
    """Return the mapping or list that a text writes as Python does: ``{'A': 0.5}``."""
    try:
        return ast.literal_eval(text.strip()) if text.lstrip()[:1] in ("{", "[") else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _is_named_list(row: Any) -> bool:
    """Whether a row is a list of tokens, as servers give it, or of labels, as transformers' pipelines do."""
    if not isinstance(row, list) or not row or not all(isinstance(part, dict) for part in row):
        return False
    return all("logprob" in part or {"label", "score"} <= set(part) for part in row)


def _sum(first: float, second: float) -> float:
    return first + second


def _named(row: Any, add: Callable[[float, float], Any]) -> dict[str, float]:
    """Return scores by name: ``{"A": -0.1}``, ``[{"token": "A", "logprob": -0.1}]``, or by token id."""
    pairs = row.items() if isinstance(row, dict) else map(_pair, row)
    found: dict[str, float] = {}
    for key, value in pairs:
        held = value.get("logprob") if isinstance(value, dict) else value
        token = (value.get("decoded_token") or key) if isinstance(value, dict) else key
        if held is None:  # an option that the item has not, as parquet writes it
            continue
        if not _is_number(held):
            raise InputError(
                f"the score of {str(key)[:40]!r} is {str(held)[:40]!r}, which is no number; map"
                " a column of scores with ColumnNames(logits='NAME')"
            )
        text = str(token).replace("Ġ", " ").replace("▁", " ").strip()
        bare = text.strip(_DRESS) if isinstance(value, dict) else ""
        text = bare if len(bare) == 1 and bare in _LETTERS else text
        # Spellings of one answer: " A" and "A". Probabilities of both add up.
        found[text] = float(add(found[text], held)) if text in found else float(held)
    return found


def _pair(part: dict[str, Any]) -> tuple[Any, Any]:
    return (part["label"], part["score"]) if "logprob" not in part else (part.get("token"), part)


def _by_name(rows: list[dict[str, float]], name: str, classes: tuple[str, ...]) -> Scores:
    ordered = bool(classes)
    if not classes:
        classes = _evident_classes(rows, name)
        same = all(list(row) == list(classes)[: len(row)] for row in rows)
        ordered = same or all(re.search(r"\d$", key) or len(key) == 1 for key in classes)
    values = np.full((len(rows), len(classes)), -np.inf)
    for place, row in enumerate(rows):
        held = [option for option in classes if option in row]
        # Fewer options end earlier; a gap, or an option beside other tokens, is one that is not known.
        if (
            not held
            or held != list(classes[: len(held)])
            or (len(held) < len(classes) and len(row) > len(held))
        ):
            missing = next(option for option in classes if option not in row)
            raise InputError(
                f"row {place}: {name} has no score of {missing!r} (it has {', '.join(list(row)[:8])}); ask"
                " the"
                " server for more top_logprobs, or name the classes with ColumnNames(classes=...)"
            )
        values[place, : len(held)] = [row[option] for option in held]
    return Scores(values, classes, ordered)


def _evident_classes(rows: list[dict[str, float]], name: str) -> tuple[str, ...]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if all(len(key) == 1 and key in _LETTERS for key in keys):
        return tuple(sorted(keys))
    if all(key.isdecimal() for key in keys):
        return tuple(sorted(keys, key=int))
    if all(row.keys() == rows[0].keys() for row in rows) and "" not in keys:
        # Rows that are sorted by score name the classes in another order each.
        return tuple(keys if all(list(row) == keys for row in rows) else sorted(keys, key=_label_order))
    raise InputError(
        f"{name} holds scores of {len(keys)} texts ({', '.join(keys[:5])}, ...); name those that are options"
        " with ColumnNames(classes=('A', 'B', 'C', 'D'))"
    )


def _label_order(key: str) -> tuple[str, int, str]:
    """Sort ``LABEL_2`` before ``LABEL_10``, and names by their letters."""
    stem = key.rstrip("0123456789")
    return (stem, int(key[len(stem) :]), "") if stem != key else (key, -1, key)


def refuse_no_logits(values: Float64, name: str, *, binary: bool) -> None:
    """Refuse logits that are shares or percents in every row: softmax would flatten or sharpen them."""
    present = np.where(np.isneginf(values), 0.0, values)
    if not np.isfinite(present).all() or (present < 0).any() or not present.any():
        return
    sums = present.sum(axis=1)
    if (present <= 1).all():
        form = "positive" if binary else "probs"
        more = "" if binary or (np.abs(sums - 1) <= _ROUNDED).all() else ", renormalise=True"
        raise InputError(
            f"logits are probabilities (every value of {name} lies in [0, 1]), and softmax would flatten"
            " them;"
            f" write ColumnNames({form}={name!r}{more})"
        )
    if (np.abs(sums - 100) <= _PERCENTS).all():
        raise InputError(
            f"logits are percents (every row of {name} sums to 100), and softmax would sharpen them; write"
            f" ColumnNames(probs={name!r}, percent=True)"
        )


def probabilities(values: Float64, name: str, *, percent: bool, renormalise: bool) -> Float64:
    """Return probabilities: of percents, and divided by their sums, where that is asked for."""
    probs = np.where(np.isneginf(values), 0.0, values)
    if percent:
        probs = probs / 100
    if not renormalise:
        _refuse_other_sums(probs, name, percent=percent)
        return probs
    sums = probs.sum(axis=1, keepdims=True)
    bad = (
        (probs < 0).any(axis=1)
        | ~(sums[:, 0] > 0)
        | ~np.isfinite(sums[:, 0])
        | (probs > 1 + 1e-9).any(axis=1)
    )
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"probs[{row}] = {probs[row].tolist()} cannot be renormalised; these are no probabilities: write"
            f" ColumnNames(logits={name!r})"
        )
    divided: Float64 = probs / sums
    return divided


def _refuse_other_sums(probs: Float64, name: str, *, percent: bool) -> None:
    """Say what the rows that are no distributions seem to be."""
    finite = np.isfinite(probs).all(axis=1)
    bad = finite & (((probs < 0) | (probs > 1 + 1e-9)).any(axis=1) | (np.abs(probs.sum(axis=1) - 1) > 1e-3))
    if not bad.any():
        return
    row = int(np.argmax(bad))
    low, high, total = probs[row].min(), probs[row].max(), probs[row].sum()
    if (probs[finite] < 0).any():
        remedy = f"these are logits or log-probabilities: write ColumnNames(logits={name!r})"
    elif not percent and 99 < total < 101:
        remedy = "divide percents by 100: add ColumnNames(percent=True)"
    elif high > 1:
        remedy = f"these are no probabilities: write ColumnNames(logits={name!r}) if they are logits"
    else:
        remedy = (
            "if they are options' shares of a whole vocabulary, or rounded, add ColumnNames(renormalise=True)"
        )
    raise InputError(f"probs[{row}] sums to {total:.4g} and spans [{low:.4g}, {high:.4g}]; {remedy}")


def of_percents(values: Any, name: str) -> Any:
    """Return percents, as numbers or texts, as shares."""
    texts = values.tolist()
    try:
        return (
            np.array([float(v.rstrip("% ").replace(",", ".")) if isinstance(v, str) else v for v in texts])
            / 100
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} holds something else than percents ({error}); mend or drop the row"
        ) from None


def two_classes(values: Any, source: str, *, percent: bool) -> Any:
    """Return a score of the second class as scores of two."""
    if source == "logits":
        return np.column_stack([np.zeros(len(values)), values[:, 0]])
    positive = values[:, 0] / 100 if percent else values[:, 0]
    bad = ~((positive >= 0) & (positive <= 1 + 1e-9))
    if bad.any():
        row = int(np.argmax(bad))
        percents = np.nanmin(positive) >= 0 and 1 < np.nanmax(positive) <= 100 and not percent
        remedy = "add ColumnNames(percent=True)"
        if not percents:
            remedy = "if it is a logit, map it with ColumnNames(logits='NAME')"
        raise InputError(f"the probability of row {row} is {positive[row]:g}, outside [0, 1]; {remedy}")
    return np.column_stack([1 - positive, positive])


def shares_of(values: Float64) -> Float64:
    """Return counts or shares of classes as shares; what an item has not is nobody's."""
    counts = np.where(np.isneginf(values), 0, values)
    sums = counts.sum(axis=1, keepdims=True)
    if not (sums > 0).all():
        row = int(np.argmin(sums[:, 0] > 0))
        raise InputError(f"label_distribution of row {row} holds nobody; drop the row")
    shares: Float64 = np.where(np.abs(sums - 1) > 1e-3, counts / sums, counts)
    return shares
