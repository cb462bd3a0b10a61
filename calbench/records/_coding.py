"""What a column of answers or labels means: its coding is decided once, from all of its values."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.records._arrays import Bool, Int64
from calbench.records._spellings import LETTERS, Spelled, cell, is_letter, is_number

_LETTERED = re.compile(r"^\(?[A-Z][.:)]|(?<![A-Za-z])[A-Z][.)]?$")  # (A) Paris; The answer is A


@dataclass(frozen=True)
class Declared:
    """What is known of the classes beforehand.

    Attributes
    ----------
    classes
        Their names, in the order of the class columns.
    start
        Which number is the first class: 0, or 1.
    """

    classes: tuple[str, ...] = ()
    start: int | None = None


def class_indices(
    column: Any, n_classes: int, declared: Declared, *, name: str = "label"
) -> tuple[Int64, tuple[str, ...]]:
    """Return which class each value names, ``(n,)``, and what was folded to read it.

    Parameters
    ----------
    column
        Numbers, letters, names of classes, one-hot rows.
    n_classes
        How many there are.
    declared
        What is known of them.
    name
        For messages.

    Raises
    ------
    InputError
        A value is missing or none of the classes, or the coding is not evident.
    """
    values = Spelled(column, name)
    values.require_complete()
    by_name = _by_name(values, declared.classes)
    if by_name is not None:
        return np.array(by_name, dtype=np.int64), ()
    if pair := (values.pair() if n_classes == 2 else None):
        return np.array([int(text.casefold() == pair[0]) for text in values.texts]), ()
    if not values.is_coded:
        known = f"none of the classes {', '.join(declared.classes[:10])}" if declared.classes else "no number"
        raise InputError(
            f"{values.example(values.words)} is {known}, and no letter; name the classes in the order of"
            " their"
            " columns with ColumnNames(classes=('negative', 'neutral', 'positive'))"
        )
    places, notes = _coded(values, n_classes, declared.start)
    wrong = (places < 0) | (places >= n_classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        from_one = not values.letters and values.numbers <= set(range(1, n_classes + 1))
        hint = (
            "if they count from 1, say so with ColumnNames(label_start=1)"
            if from_one
            else "mend or drop the row"
        )
        raise InputError(
            f"{name}[{row}] = {values.texts[row]} is outside [0, {n_classes}); labels are 0-based column"
            f" indices: {hint}, or name the classes with ColumnNames(classes=...)"
        )
    return places, notes


def _by_name(values: Spelled, classes: tuple[str, ...]) -> list[int] | None:
    """Return places among named classes; None where these are not what the column holds."""
    if not classes:
        return None
    exact = {cell(name): place for place, name in enumerate(classes)}
    if values.held <= exact.keys():
        return [exact[text] for text in values.texts]
    folded = {_folded(name): place for place, name in enumerate(classes)}
    if len(folded) == len(classes) and {_folded(text) for text in values.held} <= folded.keys():
        return [folded[_folded(text)] for text in values.texts]
    return None


def _coded(values: Spelled, n_classes: int, start: int | None) -> tuple[Int64, tuple[str, ...]]:
    first, notes = 0, list[str]()
    if values.numbers and values.letters:
        first, notes = _first_beside_letters(values, start)
    elif values.numbers:
        if n_classes == 2 and start is None and values.numbers == {-1, 1}:
            return np.array([int(text == "1") for text in values.texts]), (f"{values.name}: -1 is class 0",)
        evident = values.numbers == set(range(1, n_classes + 1))
        first = start if start is not None else int(evident)
        notes = [f"{values.name} counts from 1"] if evident and start is None else []
    return np.array([_place(text, first) for text in values.texts], dtype=np.int64), tuple(notes)


def _first_beside_letters(values: Spelled, start: int | None) -> tuple[int, list[str]]:
    """Return from where numbers count that stand among letters in one column: options' keys, from 1."""
    if start is None and min(values.numbers) < 1:
        raise InputError(
            f"{values.name} mixes letters and numbers, {values.example({'0'})} among them; say from where"
            " they count with ColumnNames(label_start=0) or ColumnNames(label_start=1)"
        )
    n = sum(map(is_number, values.texts))
    first = 1 if start is None else start
    return first, [f"{values.name}: {n:,} numbers among letters were read as options counted from {first}"]


def _place(text: str, first: int) -> int:
    return int(text) - first if is_number(text) else LETTERS.index(text.upper())


@dataclass(frozen=True)
class Agreement:
    """Which answers are right.

    Attributes
    ----------
    correct
        ``(n,)``.
    answers
        What was answered, in one spelling, ``(n,)``.
    n_classes
        How many classes answers and labels are of; 0 where it is not known.
    notes
        What was folded to compare them.
    """

    correct: Bool
    answers: list[str]
    n_classes: int
    notes: tuple[str, ...]


def agreement(predicted: Any, labels: Any, declared: Declared) -> Agreement:
    """Compare answers with labels; an answer that is missing, or that is no class, is wrong.

    Raises
    ------
    InputError
        A label is missing, or how one column names what the other holds is not evident.
    """
    said, right = Spelled(predicted, "predicted"), Spelled(labels, "label")
    right.require_complete()
    if len(said.texts) != len(right.texts):
        raise InputError(f"there are {len(said.texts)} answers for {len(right.texts)} labels; give one a row")
    if declared.classes:
        places, notes = class_indices(labels, len(declared.classes), declared)
        answered = _answered(said, declared)
        return _agreed(answered, [str(p) for p in places], len(declared.classes), notes)
    if right.is_coded and (said.numbers or said.letters):
        return _coded_agreement(said, right, declared.start)
    words = (said.pair(), right.pair())
    if (words[0] or said.held <= {"0", "1"}) and (words[1] or right.held <= {"0", "1"}) and any(words):
        yes = {"1", "true", "yes"}
        ours, theirs = ([str(int(t.casefold() in yes)) if t else "" for t in c.texts] for c in (said, right))
        return _agreed(ours, theirs, 2, ())
    return _agreement_of_words(said, right)


def _answered(said: Spelled, declared: Declared) -> list[str]:
    exact = {_folded(cell(name)): str(place) for place, name in enumerate(declared.classes)}
    if any(_folded(text) in exact for text in said.held):
        return [exact.get(_folded(text), "") for text in said.texts]
    first = declared.start or 0
    return [str(_place(text, first)) if is_number(text) or is_letter(text) else "" for text in said.texts]


def _coded_agreement(said: Spelled, right: Spelled, start: int | None) -> Agreement:
    notes = list[str]()
    if right.is_letters:
        _refuse_sentences(said, right)
    first_right = _start_of(right, said, start, notes)
    first_said = _start_of(said, right, start if 0 not in said.numbers else 0, notes)
    if right.is_numbers and said.is_numbers and start is None:
        _refuse_shifted(said, right)
    answers = [
        str(_place(text, first_said)) if is_number(text) or is_letter(text) else "" for text in said.texts
    ]
    n_unread = sum(not answer for answer in answers)
    if n_unread:
        notes.append(f"{n_unread:,} answers that are no option count as wrong")
    places = [_place(text, first_right) for text in right.texts]
    known = [int(answer) for answer in answers if answer]
    n_classes = max([*places, *known], default=0) + 1
    if min([*places, *known]) < 0:
        n_classes = 2 if right.numbers | said.numbers <= {-1, 1} else 0
    return _agreed(answers, [str(place) for place in places], n_classes, tuple(notes))


def _refuse_sentences(said: Spelled, right: Spelled) -> None:
    """Refuse answers that hold an option's letter and more: which is meant is for their author to say."""
    odd = {
        text
        for text in said.words
        if (found := _LETTERED.search(text)) and found[0].strip(" .:)(") in right.letters
    }
    if odd:
        raise InputError(
            f"{said.example(odd)} holds more than the letter of an option; write the letter alone, or give a"
            " column that says what is right with ColumnNames(correct='NAME')"
        )


def _start_of(values: Spelled, other: Spelled, start: int | None, notes: list[str]) -> int:
    """Return which number of a column is its first class, as far as the other column tells."""
    if not values.numbers:
        return 0
    if values.letters:
        first, said = _first_beside_letters(values, start)
        notes += said
        return first
    if not other.letters:
        return start or 0
    if start is not None:
        return start
    widest = max(LETTERS.index(letter) for letter in other.letters) + 1
    if min(values.numbers) <= 0:
        return 0
    if max(values.numbers) >= widest:
        notes.append(f"{values.name} counts from 1, which is A")
        return 1
    raise InputError(
        f"{values.name} has numbers ({_few(values)}) where {other.name} has letters ({_few(other)}), and"
        " neither 0 nor the last is among them; say from where they count with ColumnNames(label_start=0) or"
        " ColumnNames(label_start=1)"
    )


def _refuse_shifted(said: Spelled, right: Spelled) -> None:
    """Refuse numbers that count from 0 in one column and from 1 in the other."""
    for a, b in ((said, right), (right, said)):
        several = min(len(a.numbers), len(b.numbers)) > 1
        if several and min(a.numbers) == 0 and min(b.numbers) > 0 and max(b.numbers) == max(a.numbers) + 1:
            raise InputError(
                f"{a.name} counts from 0 ({_few(a)}) and {b.name} from 1 ({_few(b)}); if both name the same"
                " classes, say so with ColumnNames(label_start=1), and if not with ColumnNames(label_start=0)"
            )


def _few(values: Spelled) -> str:
    held = sorted(values.held)
    return ", ".join(held[:4]) + (", ..." if len(held) > 4 else "")


def _agreement_of_words(said: Spelled, right: Spelled) -> Agreement:
    closed = 1 < len(right.held) <= len(right.texts) / 2
    ours, theirs = list(said.texts), list(right.texts)
    notes: tuple[str, ...] = ()
    if closed:  # classes that recur, so that Positive and positive are one
        ours, theirs = [_folded(text) for text in ours], [_folded(text) for text in theirs]
        n = len(said.held | right.held) - len(set(filter(None, ours)) | set(theirs))
        notes = (
            (f"{n} spellings of classes differ by case or accents only and were read as one",) if n else ()
        )
        _refuse_other_words(said, right, set(filter(None, ours)), set(theirs))
    n_classes = len(set(theirs) | set(filter(None, ours))) if closed else 0
    return _agreed(ours, theirs, n_classes, notes)


def _refuse_other_words(said: Spelled, right: Spelled, ours: set[str], theirs: set[str]) -> None:
    """Refuse answers of which none is right because they are spelled otherwise."""
    if ours and ours.isdisjoint(theirs) and _akin(said, right, ours, theirs):
        raise InputError(
            f"no answer is a label: predicted holds such as {min(said.held)!r}, label such as"
            f" {min(right.held)!r}; name the classes in their order with"
            " ColumnNames(classes=...), or give a column that says what is right with"
            " ColumnNames(correct='NAME')"
        )


def _akin(said: Spelled, right: Spelled, ours: set[str], theirs: set[str]) -> bool:
    """Whether both seem to name the same: numbers or letters, and words, or beginnings of each other."""
    if said.is_numbers or right.is_numbers:
        return not (said.is_numbers and right.is_numbers)
    if said.is_letters:
        return not right.is_letters
    return any(a.startswith(b) or b.startswith(a) for a in ours for b in theirs)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _agreed(answers: Sequence[str], right: Sequence[str], n_classes: int, notes: Iterable[str]) -> Agreement:
    correct = np.array([a == b for a, b in zip(answers, right, strict=True)], dtype=bool)
    return Agreement(correct, list(answers), n_classes, tuple(notes))
