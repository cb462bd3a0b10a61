"""Labelled items, their identity, and the parts they are divided into."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from calbench.errors import InputError
from calbench.tasks._near_duplicates import near_duplicates

_LONGEST_NAME = 40
_MOST_QUANTIZATION = 128  # what GPTQ reads
_ROUNDED = 1e-3  # what shares may miss 1 by


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

    @property
    def cluster(self) -> str:
        """What was sampled with other items, such as a passage; ``""`` where an item is by itself."""
        ...

    @property
    def distribution(self) -> tuple[float, ...] | None:
        """Share of those who labelled the item that gave each class; None if nobody counted."""
        ...

    def problem(self, n_classes: int) -> str | None:
        """Say what makes the item unusable, if anything does."""
        ...

    def row(self) -> list[Any]:
        """All of it as plain JSON, for the data set's fingerprint."""
        ...


@dataclass(frozen=True)
class Item:
    """One labelled text: a unique id, the text, and the index of its class.

    ``pair`` is a second text that is shown after the first, such as the hypothesis after a premise.
    """

    id: str
    text: str
    label: int
    cluster: str = ""
    distribution: tuple[float, ...] | None = None
    pair: str = ""

    @property
    def content(self) -> str:
        """The text, or both of a pair."""
        return f"{self.text}\n{self.pair}" if self.pair else self.text

    def problem(self, n_classes: int) -> str | None:
        """Say what makes the item unusable, if anything does."""
        if not 0 <= self.label < n_classes:
            return f"has label {self.label}, of {n_classes} classes"
        shares = self.distribution
        if shares is None:
            return None
        if len(shares) != n_classes or min(shares) < 0 or abs(sum(shares) - 1) > _ROUNDED:
            return f"has the label distribution {shares}; give {n_classes} shares that sum to 1"
        return None

    def row(self) -> list[Any]:
        """Id, text and label, and the second text of a pair; nothing that no answer depends on."""
        return [self.id, self.text, self.label, *([self.pair] if self.pair else [])]


AnyItem = TypeVar("AnyItem", bound=Any)


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
            raise InputError(f"{source}: no items; give a file or a split that has some")
        seen_ids = set[str]()
        kept: dict[str, LabelledItem] = {}
        for item in sorted(items, key=lambda item: item.id):
            if item.id in seen_ids:
                raise InputError(
                    f"{source}: two items have the id {item.id!r}; ids must be unique: give each item its own"
                )
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
        quantizer read must stay out of every run's calibration and test items. A cluster lies in one
        part: the first ones are larger than was asked for rather than divide it.

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
        clusters = clusters_of(shuffled)
        if clusters is not None:
            first = {name: place for place, name in reversed(list(enumerate(clusters.values())))}
            shuffled.sort(key=lambda item: first[clusters[item.id]])
            n_training = _whole(n_training, shuffled, clusters)
            needed = _whole(max(needed, n_training), shuffled, clusters)
            if needed >= len(shuffled):
                raise InputError(
                    f"{len(first)} clusters cannot give {needed} items to set aside and leave some to"
                    " evaluate on"
                )
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


class HoldsItems(ABC):
    """What all kinds of tasks share: items that are loaded when they are first needed, and their parts."""

    id: str
    load: Callable[[], Sequence[LabelledItem]]
    n_quantization: int | None

    @property
    @abstractmethod
    def n_answers(self) -> int:
        """How many classes or options an item may have; a label is below that."""

    @property
    def n_training(self) -> int:
        """How many items are set aside to be trained on, or to be shown as answered."""
        return 0

    @cached_property
    def dataset(self) -> Dataset:
        """The items, checked and deduplicated."""
        return Dataset.of(self.load(), self.n_answers, source=f"task {self.id!r}")

    @cached_property
    def partition(self) -> Partition:
        """The items' disjoint parts."""
        n_items = len(self.dataset.items) - self.n_training
        wanted = quantization_share(n_items) if self.n_quantization is None else self.n_quantization
        return self.dataset.partition(n_training=self.n_training, n_quantization=wanted)


def quantization_share(n_items: int) -> int:
    """Return how many items are set aside for quantizers to read where nobody says: a tenth, at most 128."""
    return min(_MOST_QUANTIZATION, max(0, n_items) // 10)


def clusters_of(items: Sequence[LabelledItem]) -> dict[str, str] | None:
    """Return the cluster of each item by its id; what has none is its own. None where no item has one."""
    if not any(item.cluster for item in items):
        return None
    return {item.id: item.cluster or f"item {item.id}" for item in items}


def cluster_name(text: str) -> str:
    """Return what a cluster is called: the text that its items share, or a hash of a long one."""
    return (
        text if len(text) <= _LONGEST_NAME else hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
    )


def _whole(wanted: int, items: Sequence[LabelledItem], clusters: Mapping[str, str]) -> int:
    """Return the smallest number of the first items, as many as wanted or more, that divides no cluster."""
    while 0 < wanted < len(items) and clusters[items[wanted].id] == clusters[items[wanted - 1].id]:
        wanted += 1
    return wanted


def _half_a_character(items: Sequence[LabelledItem], error: UnicodeEncodeError, source: str) -> InputError:
    half = error.object[error.start : error.end]
    item = next(item for item in items if half in json.dumps(item.row(), ensure_ascii=False))
    return InputError(
        f"{source}: item {item.id!r} holds {half!r}, half of a character; complete it or take it out"
    )


def by_likeness(items: Sequence[AnyItem]) -> list[AnyItem]:
    """Return items whose clusters are their near-duplicates."""
    firsts = near_duplicates([item.content for item in items])
    return [replace(item, cluster=items[first].id) for item, first in zip(items, firsts, strict=True)]


def filled(template: str, fields: Mapping[str, str]) -> str:
    """Fill each place once: a text that itself holds ``{options}`` is left alone."""
    return re.sub("|".join(map(re.escape, fields)), lambda match: fields[match[0]], template)


def normalized(text: str) -> str:
    """Return the text by which duplicates are recognized: case and white space folded."""
    return " ".join(text.casefold().split())


def hash_items(items: Sequence[LabelledItem]) -> str:
    """SHA-256 over every field of every item, in the order given."""
    rows = [item.row() for item in items]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
