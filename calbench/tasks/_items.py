"""Labelled items, their identity, and the parts they are divided into."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from calbench.errors import InputError


class LabelledItem(Protocol):
    """What a data set is made of: something to be asked, with an id and the index of the answer."""

    @property
    def id(self) -> str:
        """Unique within the task."""
        ...

    @property
    def text(self) -> str:
        """What is asked; never empty."""
        ...

    @property
    def label(self) -> int:
        """Index of the right answer."""
        ...

    @property
    def content(self) -> str:
        """All that a model is shown: two items that share it are duplicates."""
        ...

    def problem(self, n_classes: int) -> str | None:
        """Say what makes the item unusable, if anything does."""
        ...

    def row(self) -> list[Any]:
        """All of it as plain JSON, for the data set's fingerprint."""
        ...


@dataclass(frozen=True)
class Item:
    """One labelled text: a unique id, the text, and the index of its class."""

    id: str
    text: str
    label: int

    @property
    def content(self) -> str:
        """The text."""
        return self.text

    def problem(self, n_classes: int) -> str | None:
        """Say what makes the item unusable, if anything does."""
        return None if 0 <= self.label < n_classes else f"has label {self.label}, of {n_classes} classes"

    def row(self) -> list[Any]:
        """Id, text and label."""
        return [self.id, self.text, self.label]


@dataclass(frozen=True)
class Dataset:
    """Deduplicated items of one task.

    Parameters
    ----------
    items
        In the order of their ids.
    n_duplicates
        How many were dropped because another item had the same text.
    """

    items: tuple[LabelledItem, ...]
    n_duplicates: int

    @classmethod
    def of(cls, items: Sequence[LabelledItem], n_classes: int, *, source: str) -> Dataset:
        """Check the items, drop exact duplicates (white space and case aside), sort by id.

        Of several items with one text the one with the smallest id stays.

        Raises
        ------
        InputError
            No items, an empty text, half a character, a label out of range or an id that appears twice.
        """
        if not items:
            raise InputError(f"{source}: no items")
        seen_ids = set[str]()
        kept: dict[str, LabelledItem] = {}
        for item in sorted(items, key=lambda item: item.id):
            if item.id in seen_ids:
                raise InputError(f"{source}: two items have the id {item.id!r}; ids must be unique")
            seen_ids.add(item.id)
            if not item.text.strip():
                raise InputError(f"{source}: item {item.id!r} has an empty text; drop it")
            if (problem := item.problem(n_classes)) is not None:
                raise InputError(f"{source}: item {item.id!r} {problem}")
            kept.setdefault(normalized(item.content), item)
        dataset = cls(tuple(kept.values()), len(items) - len(kept))
        try:
            _ = dataset.fingerprint
        except UnicodeEncodeError as error:
            raise _half_a_character(dataset.items, error, source) from None
        return dataset

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every id, text and label."""
        return hash_items(self.items)

    def partition(self, *, n_training: int, n_quantization: int) -> Partition:
        """Divide the items, by one fixed permutation, into parts that never overlap.

        The permutation does not depend on a run's seed: what a model was trained on and what a
        quantizer read must stay out of every run's calibration and test items.

        Raises
        ------
        InputError
            A number is negative, or nothing would be left to evaluate on.
        """
        if n_training < 0 or n_quantization < 0:
            raise InputError(
                f"{n_training} items for training and {n_quantization} for quantization cannot be set aside;"
                " give 0 or more"
            )
        needed = n_training + n_quantization
        if needed >= len(self.items):
            raise InputError(
                f"{len(self.items)} items cannot give {n_training} for training and {n_quantization}"
                " for quantization and leave some to evaluate on"
            )
        order = np.random.default_rng(0).permutation(len(self.items))
        shuffled = [self.items[i] for i in order]
        return Partition(
            tuple(shuffled[:n_training]), tuple(shuffled[n_training:needed]), tuple(shuffled[needed:])
        )


@dataclass(frozen=True)
class Partition:
    """Disjoint parts of a task's items.

    ``training`` is what the embedded models were fine-tuned on, ``quantization`` what a quantizer
    may read, ``evaluation`` what is left for the calibration and test splits.
    """

    training: tuple[LabelledItem, ...]
    quantization: tuple[LabelledItem, ...]
    evaluation: tuple[LabelledItem, ...]


def _half_a_character(items: Sequence[LabelledItem], error: UnicodeEncodeError, source: str) -> InputError:
    half = error.object[error.start : error.end]
    item = next(item for item in items if half in json.dumps(item.row(), ensure_ascii=False))
    return InputError(
        f"{source}: item {item.id!r} holds {half!r}, half of a character; complete it or take it out"
    )


def normalized(text: str) -> str:
    """Return the text by which duplicates are recognized: case and white space folded."""
    return " ".join(text.casefold().split())


def hash_items(items: Sequence[LabelledItem]) -> str:
    """SHA-256 over every field of every item, in the order given."""
    rows = [item.row() for item in items]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
