"""A team's own labelled file as a task for its own model: label words meet the head's outputs by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calbench.configuration import Table
from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.tasks._configured import task_of
from calbench.tasks._data import DataSource
from calbench.tasks._items import quantization_share
from calbench.tasks._registry import registry

_TEXT = ("text", "sentence", "body", "input", "content")
_LABEL = ("label", "category", "class", "target")
_YES_NO = (("no", ("0", "0.0", "no", "false")), ("yes", ("1", "1.0", "yes", "true")))
_PROMPT = "{text}\nLabel:"


def own_data(
    file: Path, model: ModelSource, *, text: str = "", label: str = "", sets_aside: bool = False
) -> dict[str, Any]:
    """Return the declaration of a classification task over a file, as ``calbench.toml`` would hold it.

    Parameters
    ----------
    file
        Any table of one labelled text a row.
    model
        A classifier, whose outputs the labels must be; a causal language model is shown the text and
        answers with the labels' own words.
    text, label
        Columns; where one is plainly named it may be left out.
    sets_aside
        Whether a quantizer will read some of the rows: a tenth of them, at most 128, are kept apart then.

    Raises
    ------
    InputError
        The file cannot be read, has no such column, or its labels are not the model's outputs.
    """
    source = DataSource(str(file))
    columns = list(source.rows[0].values)
    found_text = _column(file, "text", text, _TEXT, columns)
    found_label = _column(file, "label", label, _LABEL, columns)
    rows = {str(r.get(found_label)): r.place.rpartition(": ")[2] for r in reversed(source.rows)}  # the first
    words = sorted(rows)
    declared: dict[str, Any] = {
        "kind": "classification",
        "file": str(file.resolve()),
        "text": found_text,
        "label": found_label,
        "classes": list(model.classes or words),
        "n_quantization": quantization_share(len(source.rows)) if sets_aside else 0,
    }
    if model.multi_label:
        return {**declared, **_one_label(found_label, words, model, place=str(file))}
    if model.architecture == "causal-lm":
        return {**declared, "prompt": _PROMPT, "label_words": [f" {word}" for word in words]}
    mapping = mapped(words, model.classes, place=str(file), rows=rows)
    return declared if all(k == v for k, v in mapping.items()) else {**declared, "labels": mapping}


def declare(name: str, values: dict[str, Any]) -> None:
    """Register the task that a declaration makes, as if it stood in ``calbench.toml``."""
    task = task_of(Table(Path(values["file"]), ("tasks", name), values))

    def declared() -> Any:
        return task

    declared.__module__, declared.__qualname__ = values["file"], name
    registry.register(name)(declared)


def mapped(
    words: Sequence[str], outputs: Sequence[str], *, place: str, rows: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return which output each label word means: by name, case aside, or by its number.

    >>> mapped(["Billing", "other"], ["billing", "other"], place="tickets.csv")
    {'Billing': 'billing', 'other': 'other'}
    >>> mapped(["0", "1"], ["no", "yes"], place="tickets.csv")
    {'0': 'no', '1': 'yes'}

    Raises
    ------
    InputError
        They are not the same things.
    """
    by_name = {output.casefold(): output for output in outputs}
    if all(word.strip().casefold() in by_name for word in words):
        return {word: by_name[word.strip().casefold()] for word in words}
    if all(word.isdecimal() and int(word) < len(outputs) for word in words):
        return {word: outputs[int(word)] for word in words}
    strange = [word for word in words if word.strip().casefold() not in by_name]
    if len(words) > len(outputs):
        seen = [f"{word!r} first in {rows[word]}" for word in strange[:3]] if rows else []
        raise InputError(
            f"{place}: has the {len(words)} labels {_listed(words)}, and the model tells {len(outputs)} apart"
            f" ({_listed(outputs)}); take the rows of the others out"
            + (f" ({'; '.join(seen)})" if seen else "")
            + ", or name a model that knows them all"
        )
    names = [*words, *(f"unused-{n}" for n in range(len(outputs) - len(words)))]
    raise InputError(
        f"{place}: its labels are {_listed(words)}, and the model's outputs are {_listed(outputs)}; which is"
        f" which ({_listed(strange)})? Write {len(outputs)} names in the order of the head's outputs, the"
        f" file's labels among them, such as classes={list(names[: len(outputs)])}"
    )


def _one_label(column: str, words: Sequence[str], model: ModelSource, *, place: str) -> dict[str, Any]:
    """Return what a declaration says of one label of several: the column that is called like an output."""
    output = {name.casefold(): name for name in model.classes}.get(column.casefold())
    spelled = {
        word: answer for word in words for answer, known in _YES_NO if word.strip().casefold() in known
    }
    if output is None or len(spelled) < len(words):
        raise InputError(
            f"{place}: {model.id} answers yes or no to each of {_listed(model.classes)}, and the column"
            f" {column!r} holds {_listed(words)}; write label='COLUMN' with the name of one of them, holding"
            " 0 or 1, no or yes"
        )
    return {"classes": ["no", "yes"], "labels": spelled, "output": output}


def _column(file: Path, what: str, given: str, plain: Sequence[str], columns: Sequence[str]) -> str:
    if given in columns:
        return given
    found = [column for column in columns if column.lower() in plain]
    if not given and len(found) == 1:
        return found[0]
    problem = f"no column {given!r}" if given else f"its column of {what}s cannot be told"
    raise InputError(f"{file}: {problem}; there are {_listed(columns)}. Write {what}='COLUMN'")


def _listed(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
