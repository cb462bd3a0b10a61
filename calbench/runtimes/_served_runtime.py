"""Whatever is asked an item at a time, as a runtime: llama.cpp, and servers of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from calbench.inference import Request, Scored, Shards
from calbench.runtimes._http import as_documented
from calbench.runtimes._protocol import Prepared
from calbench.runtimes._scoring import ask_all
from calbench.tasks import LabelledItem

Prepare = Callable[[Request, Sequence[LabelledItem]], Prepared]


@dataclass(frozen=True, eq=False)
class ServedRuntime:
    """Asks several items at once; see :class:`calbench.runtimes.Runtime`.

    Parameters
    ----------
    name
        The way of asking.
    prepare
        Makes items ready to be asked; raises where they cannot be asked in this way.
    n_at_once
        Requests in flight.
    told
        What to note in a record, such as the self-test.
    check_unchanged
        Raises if somebody else answers now.
    where
        The address that an error names.
    """

    name: str
    prepare: Prepare
    n_at_once: int = 4
    told: Mapping[str, Any] = field(default_factory=dict)
    check_unchanged: Callable[[], None] = lambda: None
    where: str = ""

    def score(
        self,
        request: Request,
        items: Sequence[LabelledItem],
        *,
        shards: Shards,
        on_progress: Callable[..., None],
    ) -> Scored:
        """Ask every item that no finished part answers."""
        with as_documented(self.name):
            prepared = replace(self.prepare(request, items), where=self.where)
        return ask_all(
            prepared,
            items,
            n_at_once=self.n_at_once,
            shards=shards,
            on_progress=on_progress,
            check_unchanged=self.check_unchanged,
        )

    def notes(self) -> Mapping[str, Any]:
        """What was told."""
        return self.told
