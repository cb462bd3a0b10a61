"""A row of a table, and the items that its columns make."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calbench.errors import InputError
from calbench.tasks._generation import OpenQuestion, normal_form
from calbench.tasks._items import Item, cluster_name
from calbench.tasks._multiple_choice import LETTERS, Question

NEAR_DUPLICATES = "near-duplicates"


@dataclass(frozen=True)
class Row:
    """One row: its place in words, an id that no other row of the table has, and what it holds."""

    place: str
    id: str
    values: dict[str, Any]

    def get(self, path: str) -> Any:
        """Return what is at a path: ``"stem"``, ``"question.stem"``, ``"choices[].text"`` (of each).

        A list may also be a text that holds it as JSON, as csv files do.
        """
        return self._walk(self.values, path.split("."), path)

    def text(self, template: str) -> str:
        """Return a column as text, or a template such as ``"{Title} ({entity})"`` filled."""
        if "{" in template:
            return re.sub(r"\{([^{}]+)\}", lambda match: self.text(match[1]), template)
        value = self.get(template)
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            return " ".join(value)
        if not isinstance(value, str | int | float):
            raise self.error(template, f"is {value!r}; a text is wanted")
        return str(value)

    def error(self, column: str, problem: str) -> InputError:
        """Return an error that names the place and the column."""
        return InputError(f"{self.place}: column {column!r} {problem}")

    def _walk(self, value: Any, names: list[str], path: str) -> Any:
        # A column may itself be called "a.b".
        if not names or (isinstance(value, dict) and path in value):
            return value[path] if names else value
        name, each = names[0].removesuffix("[]"), names[0].endswith("[]")
        if not isinstance(value, dict) or name not in value:
            raise self.error(path, f"is missing; {_columns(value, name)}")
        if not each:
            return self._walk(value[name], names[1:], path)
        parts = value[name]
        if isinstance(parts, str):
            try:
                parts = json.loads(parts)
            except json.JSONDecodeError:
                parts = None
        if not isinstance(parts, list):
            raise self.error(path, f"is {value[name]!r}; a list is wanted")
        return [self._walk(part, names[1:], path) for part in parts]


def _columns(value: Any, name: str) -> str:
    if not isinstance(value, dict):
        return f"there is {value!r}"
    near = difflib.get_close_matches(name, value, n=1)
    there = ", ".join(f"{column!r} ({type(held).__name__})" for column, held in value.items())
    return (f"did you mean {near[0]!r}? " if near else "") + f"there are {there}"


def exploded(row: Row, column: str, key: str, value: str) -> Iterator[Row]:
    """Yield a row per entry of a column that holds a mapping, with two columns more.

    The mapping may be a JSON object or the text of a Python dict; nothing in it is executed.
    """
    mapping = row.get(column)
    if isinstance(mapping, str):
        try:
            mapping = ast.literal_eval(mapping)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise row.error(column, f"is {mapping!r}; a mapping is wanted") from None
    if not isinstance(mapping, dict):
        raise row.error(column, f"is {mapping!r}; a mapping is wanted")
    for number, (name, held) in enumerate(mapping.items(), start=1):
        yield Row(row.place, f"{row.id}-{number}", {**row.values, key: name, value: held})


def text_item(row: Row, given: Mapping[str, Any], classes: Sequence[str]) -> Item:
    """Return a labelled text by the keys ``text``, ``label``, ``labels`` and ``id``.

    A label is a class's name, what ``labels`` says of it, or the class's number from 0.
    """
    value = row.get(given["label"])
    labels = given.get("labels", {})
    name = labels.get(str(value), str(value))
    if name not in classes and name.isdecimal() and int(name) < len(classes):
        name = classes[int(name)]
    if name not in classes:
        known = ", ".join(map(repr, (*classes, *labels)))
        raise row.error(
            given["label"],
            f"is {value!r}, which is none of {known}; mend it, or say with labels which class it means",
        )
    shares = _distribution(row, given, classes)
    pair = row.text(given["pair"]) if "pair" in given else ""
    return Item(
        _id(row, given), row.text(given["text"]), classes.index(name), cluster_of(row, given), shares, pair
    )


def open_question(row: Row, given: Mapping[str, Any]) -> OpenQuestion:
    """Return an open question by the keys ``question``, ``answers`` and ``id``."""
    columns = [given["answers"]] if isinstance(given["answers"], str) else given["answers"]
    found: list[str] = []
    for column in columns:
        value = row.get(column)
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, str | int | float | None):
                raise row.error(column, f"holds {part!r}; an answer or a list of answers is wanted")
            if part is not None and (text := str(part).strip()):
                found.append(text)
    if not any(map(normal_form, found)):
        raise row.error(columns[0], f"gives {found!r}; an accepted answer, in words, is wanted")
    answers = tuple(dict.fromkeys(found))
    return OpenQuestion(_id(row, given), row.text(given["question"]), answers, cluster_of(row, given))


def question(row: Row, given: Mapping[str, Any]) -> Question:
    """Return a question by the keys ``question``, ``passage``, ``options`` or ``choices``, ``answer``, ...

    Options are marked 1 (right) or 0 in a mapping, or the answer is an option's key: one of its own
    (``keys``), a letter, a number that counts from ``answer_start``, or the option's text.
    """
    options = _options(row, given)
    if isinstance(options, dict):
        label = _marked(row, given, list(options.values()))
    else:
        label = _answer(row, given, options)
    passage = row.text(given["passage"]) if "passage" in given else ""
    shares = _distribution(row, given, tuple(map(str, options)))
    return Question(
        _id(row, given),
        row.text(given["question"]),
        tuple(map(str, options)),
        label,
        passage,
        cluster_of(row, given),
        shares,
    )


def _id(row: Row, given: Mapping[str, Any]) -> str:
    return str(row.get(given["id"])) if "id" in given else row.id


def cluster_of(row: Row, given: Mapping[str, Any]) -> str:
    """Return what a row was sampled with: a column as text, or lists and the like as JSON."""
    if given.get("cluster", NEAR_DUPLICATES) == NEAR_DUPLICATES:
        return ""
    value = row.get(given["cluster"]) if "{" not in given["cluster"] else row.text(given["cluster"])
    if value is None or not str(value).strip():
        raise row.error(given["cluster"], f"is {value!r}; give every row the name of its cluster")
    return cluster_name(value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str))


def _distribution(row: Row, given: Mapping[str, Any], classes: Sequence[str]) -> tuple[float, ...] | None:
    """Return the share of each class: of a list of shares or counts, of a mapping, or of a vote an entry."""
    column = given.get("label_distribution")
    if column is None:
        return None
    held = row.get(column)
    if isinstance(held, str):
        try:
            held = json.loads(held)
        except json.JSONDecodeError:
            raise row.error(column, f"is {held!r}; a list of counts or shares is wanted") from None
    if isinstance(held, dict):
        held = [held.get(name, 0) or 0 for name in classes]
    if (
        not isinstance(held, list)
        or len(held) != len(classes)
        or not all(isinstance(v, int | float) and v >= 0 for v in held)
        or not sum(held) > 0
    ):
        names = ", ".join(map(repr, classes))
        raise row.error(column, f"is {row.get(column)!r}; give counts or shares of {names}, in this order")
    return tuple(float(v) / sum(held) for v in held)


def _options(row: Row, given: Mapping[str, Any]) -> list[str] | dict[str, Any]:
    if "choices" in given:
        return list(given["choices"])
    column = given["options"]
    if not isinstance(column, str):
        texts = [str("" if (value := row.get(name)) is None else value) for name in column]
        while texts and not texts[-1].strip():
            texts.pop()  # a question with fewer options than the widest
        return texts
    found = row.get(column)
    if isinstance(found, dict) and set(found) == {"choices", "labels"}:
        found = _paired(row, column, found["choices"], found["labels"])
    if not isinstance(found, list | dict) or not found:
        raise row.error(column, f"is {found!r}; a list of options is wanted")
    return found if isinstance(found, dict) else [str(option) for option in found]


def _paired(row: Row, column: str, choices: Any, labels: Any) -> dict[str, Any]:
    if not isinstance(choices, list) or not isinstance(labels, list):
        given = {"choices": choices, "labels": labels}
        raise row.error(column, f"is {given!r}; lists of choices and labels are wanted")
    if len(choices) != len(labels):
        raise row.error(column, f"has {len(choices)} choices and {len(labels)} labels; give as many of each")
    found: dict[str, Any] = {}
    for text, label in zip(map(str, choices), labels, strict=True):
        if found.setdefault(text, label) != label:
            raise row.error(column, f"marks {text!r} both as right and as wrong; keep one")
    return found


def _marked(row: Row, given: Mapping[str, Any], marks: list[Any]) -> int:
    if any(mark not in (0, 1) for mark in marks):
        raise row.error(given["options"], f"marks options with {marks!r}; 1 is right and 0 is not")
    if marks.count(1) != 1:
        raise row.error(
            given["options"], f"marks {marks.count(1)} options as right; leave the question out, or mark one"
        )
    return marks.index(1)


def _answer(row: Row, given: Mapping[str, Any], options: Sequence[str]) -> int:
    column, start = given.get("answer"), given.get("answer_start")
    if column is None:
        raise row.error(str(given.get("options")), "marks no answer; name the column that does as 'answer'")
    value = str(row.get(column))
    if "keys" in given:
        found = row.get(given["keys"])
        if not isinstance(found, list):
            raise row.error(given["keys"], f"is {found!r}; a list is wanted")
        keys = [str(key) for key in found]
    elif value.isdecimal():
        keys = [str((1 if start is None else start) + i) for i in range(len(options))]
    else:
        keys = list(LETTERS[: len(options)]) if len(value) == 1 else list(options)
    if value not in keys:
        raise row.error(
            column, f"is {row.get(column)!r}, which is none of the keys {', '.join(map(repr, keys))}"
        )
    named = options[keys.index(value)]
    if "keys" not in given and start is None and value in options and named != value:
        is_path = isinstance(given.get("options"), str)
        text = "declare the options' path as 'keys' too" if is_path else "write its key"
        raise row.error(
            column,
            f"is {value!r}, the key of the option {named!r} and the text of another; if it is the key,"
            f" declare answer_start, and if it is the text, {text}",
        )
    return keys.index(value)
