"""Decisions: a state and one typed question about it, for models that answer with probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from calbench.errors import InputError, UnanswerableError
from calbench.models import ModelSource
from calbench.tasks._items import HoldsItems, Item, LabelledItem

Kind = Literal["choice", "score", "noul"]
Order = Literal["given", "reversed", "shuffled"]
# What ``POST /v1/systemone`` takes.
MAX_OPTIONS = 255
MAX_LEVELS = 10


@dataclass(frozen=True)
class Decision(HoldsItems):
    """A task whose items are states, and whose answers a decision server gives as class probabilities.

    Parameters
    ----------
    id
        The name that options, test ids and reports use.
    load
        Returns the states as labelled texts; called once, when they are first needed.
    instructions
        What is asked about a state.
    options
        Options by name, each with a description or None: the question is a ``choice``.
    levels
        Descriptions of levels, the lowest first: the question is a ``score``. With neither options nor
        levels it is answered no (label 0) or yes (label 1): a ``noul``.
    yes, no
        What the two answers of a ``noul`` mean.
    order
        In which order options are shown: as given, reversed, or in an order of each item's own. Records
        of two orders are compared item by item: does shuffling move the answer?
    n_quantization
        Items set aside; no quantizer of ours ever reads them.
    """

    id: str
    load: Callable[[], Sequence[Item]] = field(repr=False, compare=False)
    instructions: str
    options: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    levels: tuple[str, ...] = ()
    yes: str | None = None
    no: str | None = None
    order: Order = "given"
    n_quantization: int = 0

    def __post_init__(self) -> None:
        if self.options and self.levels:
            raise InputError(f"task {self.id!r} has options and levels; a question is of one kind")
        limit = MAX_LEVELS if self.levels else MAX_OPTIONS
        if not 2 <= len(self.classes) <= limit or len(set(self.classes)) < len(self.classes):
            raise InputError(f"task {self.id!r} has the classes {self.classes}; give 2 to {limit} different")
        if not self.instructions.strip():
            raise InputError(f"task {self.id!r} has no instructions; say what is to be decided")
        if self.order not in get_args(Order):
            known = ", ".join(map(repr, get_args(Order)))
            raise InputError(f"task {self.id!r}: order is {self.order!r}; use one of {known}")
        if self.order != "given" and not self.options:
            raise InputError(f"task {self.id!r}: only the options of a choice have another order")

    @property
    def kind(self) -> Kind:
        """The type of the question, as the protocol calls it."""
        return "choice" if self.options else "score" if self.levels else "noul"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of options, levels, or no and yes; a label is an index into them."""
        return tuple(self.options) or self.levels or ("no", "yes")

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.classes)

    @property
    def n_answers(self) -> int:
        """See :class:`~calbench.tasks._items.HoldsItems`."""
        return len(self.classes)

    def request(self, source: ModelSource) -> DecisionRequest:
        """Return how the model is asked; raises :class:`UnanswerableError` if it is no decision server."""
        if not source.decides:
            raise UnanswerableError(
                f"task {self.id!r} is a decision, which {source.id!r} cannot answer; name a decision server,"
                " such as http://host:8000/v1/systemone#model"
            )
        described = tuple(self.options.items()) or tuple((level, None) for level in self.levels)
        return DecisionRequest(
            self.kind, self.instructions, described or (("no", self.no), ("yes", self.yes)), self.order
        )


@dataclass(frozen=True)
class DecisionRequest:
    """How a state becomes one typed question; ``described`` names the classes, with what each means."""

    kind: Kind
    instructions: str
    described: tuple[tuple[str, str | None], ...]
    order: Order = "given"

    @property
    def scoring(self) -> str:
        """The kind of request, for whoever must tell kinds apart."""
        return "decision"

    @property
    def keys(self) -> tuple[str, ...]:
        """By which an answer's probabilities are named, in the order of the classes."""
        if self.kind == "score":
            return tuple(map(str, range(len(self.described))))
        return tuple(name for name, _ in self.described)

    def text(self, item: LabelledItem) -> str:
        """Return the state."""
        return item.text

    def sample(self, item: LabelledItem) -> str:
        """Return what a quantizer may read of an item."""
        return item.text

    def question(self, item: LabelledItem) -> dict[str, Any]:
        """Return the question about a state, as ``POST /v1/systemone`` takes it."""
        asked: dict[str, Any] = {"type": self.kind, "instructions": self.instructions}
        if self.kind == "score":
            return {**asked, "criteria": [level for level, _ in self.described]}
        if self.kind == "choice":
            return {**asked, "criteria": dict(self._ordered(item))}
        means = zip(("false", "true"), self.described, strict=True)
        criteria = {answer: meaning for answer, (_, meaning) in means if meaning is not None}
        return {**asked, "criteria": criteria} if criteria else asked

    def _ordered(self, item: LabelledItem) -> Sequence[tuple[str, str | None]]:
        if self.order == "given":
            return self.described
        if self.order == "reversed":
            return self.described[::-1]
        seed = int.from_bytes(hashlib.sha256(item.id.encode()).digest()[:8], "big")
        places = np.random.default_rng(seed).permutation(len(self.described))
        return [self.described[place] for place in places]

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change a prediction."""
        return {
            "scoring": self.scoring,
            "kind": self.kind,
            "instructions": self.instructions,
            "described": [list(pair) for pair in self.described],
            "order": self.order,
        }
