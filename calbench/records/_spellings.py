"""A column's values in one spelling, and of which alphabet they are."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.records._arrays import Bool

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NUMBER = re.compile(r"-?\d{1,18}")
_ENUMERATED = re.compile(r"(?:label|class)[ _-]?(\d{1,9})", re.IGNORECASE)  # LABEL_1, as transformers says
_WRAPPED = re.compile(r"\[\s*(.*?)\s*\]|\(\s*([A-Za-z0-9])\s*\)|([A-Za-z0-9])[.):]")
# What says right and wrong, or yes and no; a column uses one pair.
_PAIRS = (
    ("true", "false"),
    ("yes", "no"),
    ("correct", "incorrect"),
    ("correct", "wrong"),
    ("right", "wrong"),
    ("pass", "fail"),
    ("passed", "failed"),
    ("t", "f"),
    ("y", "n"),
    ("c", "i"),
    ("1", "0"),
    ("wahr", "falsch"),  # a spreadsheet's own words where it speaks German, French or Spanish
    ("vrai", "faux"),
    ("verdadero", "falso"),
)
_ORDINARY = _PAIRS[:2]


def cells(column: Any) -> list[str]:
    """Return a column's values as texts without blanks around them; what is missing is ``""``.

    Whole floats read like integers, and a list of one value like the value. Rows that all hold
    a single 1 among zeros become its place.
    """
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    if values and all(_is_one_hot(value) for value in values):
        return [str(list(value).index(1)) for value in values]
    return [cell(value) for value in values]


def is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def is_letter(text: str) -> bool:
    return len(text) == 1 and text.upper() in LETTERS


def _is_one_hot(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(v, int | float) and v in (0, 1) for v in value)
        and sum(value) == 1
    )


def cell(value: Any) -> str:
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    if value is None:
        return ""
    text = unicodedata.normalize("NFC", str(value)).strip()
    found = _WRAPPED.fullmatch(text)
    if found and "," not in text:
        text = next(part for part in found.groups() if part is not None).strip("'\" ")
    if re.fullmatch(r"-?\d{1,15}\.0+", text):
        text = text[: text.index(".")]
    return text


class Spelled:
    """One column's values, and of which alphabet they are."""

    def __init__(self, column: Any, name: str) -> None:
        self.name = name
        self.texts = cells(column)
        enumerated = [_ENUMERATED.fullmatch(text) for text in self.texts]
        if any(self.texts) and all(found for found, text in zip(enumerated, self.texts, strict=True) if text):
            self.texts = [found[1] if found else "" for found in enumerated]
        self.held = {text for text in self.texts if text}
        self.numbers = {int(text) for text in self.held if is_number(text)}
        self.letters = {text.upper() for text in self.held if is_letter(text)}
        self.words = {text for text in self.held if not (is_number(text) or is_letter(text))}
        self.is_coded = bool(self.held) and not self.words

    @property
    def is_numbers(self) -> bool:
        return self.is_coded and not self.letters

    @property
    def is_letters(self) -> bool:
        return self.is_coded and not self.numbers

    def pair(self, pairs: Iterable[tuple[str, str]] = _ORDINARY) -> tuple[str, str] | None:
        """Return the pair of words for yes and no that all values are of."""
        said = {text.casefold() for text in self.held}
        return next((pair for pair in pairs if said and said <= set(pair)), None)

    def require_complete(self) -> None:
        if "" in self.texts:
            raise InputError(
                f"{self.name}[{self.texts.index('')}] is missing; an item needs a right answer: drop the row"
            )

    def example(self, wanted: Iterable[str]) -> str:
        """Say where one of some values stands."""
        wanted = set(wanted)
        row = next(row for row, text in enumerate(self.texts) if text in wanted)
        return f"{self.name}[{row}] = {self.texts[row]!r}"


def truths(column: Any, name: str = "correct") -> Bool:
    """Return whether each value says right, ``(n,)``: booleans, 1 and 0, yes and no, Correct and Wrong.

    Raises
    ------
    InputError
        The column is missing a value, or its values are of no one pair of words.
    """
    values = Spelled(column, name)
    if "" in values.texts:
        raise InputError(f"{name}[{values.texts.index('')}] is missing; drop the row")
    pair = values.pair(_PAIRS)
    if pair is None:
        odd = {text for text in values.held if not any(text.casefold() in pair for pair in _PAIRS)}
        shown = values.example(odd or values.held)
        raise InputError(
            f"{shown}, where right and wrong belong (true and false, 1 and 0, yes and no, Correct and Wrong);"
            " name the column that says so with ColumnNames(correct='NAME'), or compare answers with"
            " ColumnNames(predicted='NAME', label='NAME')"
        )
    return np.array([text.casefold() == pair[0] for text in values.texts])
