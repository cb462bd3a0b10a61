"""Items that are several requests: contexts of their own for each option, or options without a context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from calbench.inference._choices import ChoiceMethod, choice_method
from calbench.models import ModelSource
from calbench.records import Float32
from calbench.tasks import ChoiceRequest, HarnessRequest, LabelledItem, Question


@dataclass(frozen=True, eq=False)
class RequestMethod:
    """Reads one log-likelihood per request; see :class:`calbench.inference._methods.Method`.

    ``parts`` says which rows of ``inner`` an item is made of: its neighbouring requests with one context.
    """

    inner: ChoiceMethod
    parts: list[tuple[int, ...]]
    inputs: list[tuple[Any, ...]]
    lengths: list[int]
    packs: bool
    width: int
    budget: int
    n_truncated: int
    engine: str

    def read(self, rows: Sequence[int]) -> Float32:
        """Ask one batch: all parts of its items."""
        flat = [part for row in rows for part in self.parts[row]]
        found = iter(self.inner.read(flat))
        values = np.full((len(rows), self.width), -np.inf, dtype=np.float32)
        for place, row in enumerate(rows):
            start = 0
            for part in self.parts[row]:
                n_options = len(self.inner.inputs[part][0].options)
                values[place, start : start + n_options] = next(found)[:n_options]
                start += n_options
        return values


class _Bare(ChoiceRequest):
    """A context that is given as it is, and continuations that are the options themselves."""

    @property
    def keeps_first_token(self) -> bool:
        """As the harness cuts: its log-likelihoods are to be the same."""
        return False

    def text(self, item: LabelledItem) -> str:
        return item.text

    def continuations(self, item: LabelledItem) -> list[str]:
        return list(item.options) if isinstance(item, Question) else []


def request_method(
    module: Any, tokenizer: Any, source: ModelSource, request: HarnessRequest, items: Sequence[LabelledItem]
) -> RequestMethod:
    """Prepare items; every context is asked once, with all that may follow it."""
    groups: list[Question] = []
    parts: list[tuple[int, ...]] = []
    for item in items:
        first = len(groups)
        for context, pairs in groupby(request.pairs[item.id], key=lambda pair: pair[0]):
            groups.append(Question(item.id, context, tuple(continuation for _, continuation in pairs), 0))
        parts.append(tuple(range(first, len(groups))))
    inner = choice_method(module, tokenizer, source, _Bare("sum", "{question}"), groups)
    cost = sum if inner.packs else max
    return RequestMethod(
        inner,
        parts,
        [tuple(inner.inputs[part] for part in own) for own in parts],
        [cost(inner.lengths[part] for part in own) for own in parts],
        inner.packs,
        max(sum(len(inner.inputs[part][0].options) for part in own) for own in parts),
        inner.budget,
        inner.n_truncated,
        inner.engine,
    )
