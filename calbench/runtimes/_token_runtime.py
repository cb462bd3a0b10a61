"""Servers that are told tokens, as a runtime: llama.cpp, llama-server, and the openai protocol with echo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbench.inference import Request, Scored, Shards
from calbench.models import ModelSource
from calbench.runtimes._protocol import TokenServer
from calbench.runtimes._scoring import ask_all
from calbench.runtimes._tokens import Tokenised
from calbench.tasks import LabelledItem


@dataclass(frozen=True, eq=False)
class TokenRuntime:
    """A server that gives log-probabilities of tokens; see :class:`calbench.runtimes.Runtime`.

    Parameters
    ----------
    server
        Who answers.
    tokenizer
        The base model's, or the server's own.
    source
        The model, with its ``max_length``.
    n_at_once
        Requests in flight.
    told
        What to note in a record, such as the self-test.
    """

    server: TokenServer
    tokenizer: Any
    source: ModelSource
    n_at_once: int = 4
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """That of the server."""
        return self.server.name

    def score(
        self,
        request: Request,
        items: Sequence[LabelledItem],
        *,
        shards: Shards,
        on_progress: Callable[..., None],
    ) -> Scored:
        """Ask each option of each item in a request of its own, several at once."""
        rows = Tokenised.of(self.tokenizer, self.source, request, items)
        prepared = rows.prepared(self.server)
        return ask_all(prepared, items, n_at_once=self.n_at_once, shards=shards, on_progress=on_progress)

    def notes(self) -> Mapping[str, Any]:
        """What was told."""
        return self.told
