"""From rows to items: which columns hold the text, the options and the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbench.tasks._generation import OpenQuestion, normal_form
from calbench.tasks._items import Item
from calbench.tasks._multiple_choice import LETTERS, Question
from calbench.tasks._tables import Row


@dataclass(frozen=True)
class QuestionColumns:
    """Where a question's parts are.

    Parameters
    ----------
    question, passage
        A column, a path (``question.stem``) or a template.
    options
        A path to the list of texts (``choices[].text``) or to a mapping from each text to 1 (right)
        or 0; or a list of columns, of which the last may be empty.
    answer
        The column with the right option's key; not needed where ``options`` is a mapping.
    keys
        A path to the options' keys (``choices[].label``). Without it a key is a letter, or a number
        that counts from ``answer_start``, or the text of an option. A text that is also the letter or
        number of another option is refused.
    answer_start
        What the first option's number is: 1, or 0. Where it is given, numbers and letters are never
        taken for texts.
    id
        The column that names an item; by default the file and line do.
    """

    question: str
    options: str | Sequence[str]
    answer: str | None = None
    keys: str | None = None
    answer_start: int | None = None
    id: str | None = None
    passage: str | None = None

    def read(self, rows: Iterable[Row]) -> list[Question]:
        """Return the questions; raises :class:`InputError` with place and column."""
        return [self._read(row) for row in rows]

    def _read(self, row: Row) -> Question:
        found = self._options(row)
        if isinstance(found, dict):
            options, label = self._marked(row, found)
        else:
            options = found
            label = self._label(row, options)
        return Question(
            str(row.get(self.id)) if self.id else row.id,
            row.text(self.question),
            tuple(options),
            label,
            row.text(self.passage) if self.passage else "",
        )

    def _options(self, row: Row) -> list[str] | dict[str, Any]:
        if isinstance(self.options, str):
            found = row.get(self.options)
            if isinstance(found, dict) and set(found) == {"choices", "labels"}:
                found = self._paired(row, found["choices"], found["labels"])
            if not isinstance(found, list | dict) or not found:
                raise row.error(self.options, f"is {found!r}; a list of options is wanted")
            return found if isinstance(found, dict) else [str(option) for option in found]
        texts = [str("" if (value := row.get(column)) is None else value) for column in self.options]
        while texts and not texts[-1].strip():
            texts.pop()  # a question with fewer options than the widest
        return texts

    def _paired(self, row: Row, choices: Any, labels: Any) -> dict[str, Any]:
        if not isinstance(choices, list) or not isinstance(labels, list):
            given = {"choices": choices, "labels": labels}
            raise row.error(str(self.options), f"is {given!r}; lists of choices and labels are wanted")
        if len(choices) != len(labels):
            raise row.error(str(self.options), f"has {len(choices)} choices and {len(labels)} labels")
        found: dict[str, Any] = {}
        for text, label in zip(map(str, choices), labels, strict=True):
            if found.setdefault(text, label) != label:
                raise row.error(str(self.options), f"marks {text!r} both as right and as wrong")
        return found

    def _marked(self, row: Row, found: dict[str, Any]) -> tuple[list[str], int]:
        marks = list(found.values())
        if any(mark not in (0, 1) for mark in marks):
            raise row.error(str(self.options), f"marks options with {marks!r}; 1 is right and 0 is not")
        if marks.count(1) != 1:
            raise row.error(str(self.options), f"marks {marks.count(1)} options as right; one is wanted")
        return [str(option) for option in found], marks.index(1)

    def _label(self, row: Row, options: Sequence[str]) -> int:
        if self.answer is None:
            raise row.error(str(self.options), "marks no answer; name the column that does as 'answer'")
        value = row.get(self.answer)
        if self.keys:
            keys = [str(key) for key in row.sequence(self.keys)]
        else:
            keys = self._usual_keys(str(value), options)
            self._check_unambiguous(row, str(value), keys, options)
        if str(value) not in keys:
            raise row.error(
                self.answer, f"is {value!r}, which is none of the keys {', '.join(map(repr, keys))}"
            )
        return keys.index(str(value))

    def _usual_keys(self, value: str, options: Sequence[str]) -> list[str]:
        if value.isdecimal():
            first = 1 if self.answer_start is None else self.answer_start
            return [str(first + i) for i in range(len(options))]
        return list(LETTERS[: len(options)]) if len(value) == 1 else list(options)

    def _check_unambiguous(self, row: Row, value: str, keys: Sequence[str], options: Sequence[str]) -> None:
        if self.answer_start is not None or value not in keys or value not in options:
            return
        if (named := options[keys.index(value)]) != value:
            text = "write its key"
            if isinstance(self.options, str):
                text = "declare the options' path as 'keys' too"
            raise row.error(
                str(self.answer),
                f"is {value!r}, the key of the option {named!r} and the text of another; if it is the key,"
                f" declare answer_start, and if it is the text, {text}",
            )


@dataclass(frozen=True)
class OpenColumns:
    """Where an open question's parts are.

    Parameters
    ----------
    question
        A column, a path or a template.
    answers
        Columns or paths of which each holds one accepted answer, or a list of them. The first answer
        is the one that examples show; what is empty is no answer.
    id
        The column that names an item; by default the file and line do.
    """

    question: str
    answers: Sequence[str]
    id: str | None = None

    def read(self, rows: Iterable[Row]) -> list[OpenQuestion]:
        """Return the questions; raises :class:`InputError` with place and column."""
        return [
            OpenQuestion(
                str(row.get(self.id)) if self.id else row.id, row.text(self.question), self._answers(row)
            )
            for row in rows
        ]

    def _answers(self, row: Row) -> tuple[str, ...]:
        found = [answer for column in self.answers for answer in self._of(row, column)]
        if not any(map(normal_form, found)):
            raise row.error(self.answers[0], f"gives {found!r}; an accepted answer, in words, is wanted")
        return tuple(dict.fromkeys(found))

    def _of(self, row: Row, column: str) -> list[str]:
        value = row.get(column)
        parts = value if isinstance(value, list) else [value]
        if odd := [part for part in parts if not isinstance(part, str | int | float | None)]:
            raise row.error(column, f"holds {odd[0]!r}; an answer or a list of answers is wanted")
        return [text for part in parts if part is not None and (text := str(part).strip())]


@dataclass(frozen=True)
class TextColumns:
    """Where a labelled text's parts are.

    Parameters
    ----------
    text
        A column, a path or a template.
    label
        The column with the class: its name, or a key of ``labels``.
    classes
        Names of the classes, in order.
    labels
        What other labels stand for: many may stand for one class.
    id
        The column that names an item; by default the file and line do.
    """

    text: str
    label: str
    classes: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None

    def read(self, rows: Iterable[Row]) -> list[Item]:
        """Return the texts; raises :class:`InputError` with place and column."""
        return [
            Item(str(row.get(self.id)) if self.id else row.id, row.text(self.text), self._label(row))
            for row in rows
        ]

    def _label(self, row: Row) -> int:
        value = row.get(self.label)
        name = self.labels.get(str(value), str(value))
        if name not in self.classes:
            known = (*self.classes, *self.labels)
            raise row.error(self.label, f"is {value!r}, which is none of {', '.join(map(repr, known))}")
        return self.classes.index(name)
