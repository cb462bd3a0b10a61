"""What a runtime is: requests in, log-probabilities out, and who it was that answered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calbench.inference import Request, Scored, Shards
from calbench.tasks import LabelledItem


class Runtime(Protocol):
    """A model that is ready to be asked, wherever it runs."""

    @property
    def name(self) -> str:
        """``"torch"``, ``"llama.cpp"``, ``"openai"``, ..."""
        ...

    def score(
        self,
        request: Request,
        items: Sequence[LabelledItem],
        *,
        shards: Shards,
        on_progress: Callable[..., None],
    ) -> Scored:
        """Ask every item; what ``shards`` hold of an earlier run is not asked again."""
        ...

    def notes(self) -> Mapping[str, Any]:
        """What identifies nothing, for a record's provenance: machine, build report, self-test."""
        ...


class TokenServer(Protocol):
    """A server that gives the log-probability of tokens it is told."""

    @property
    def name(self) -> str:
        """The way of asking."""
        ...

    def log_probs(self, context: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """Return log p(token | all before it) of each token of a continuation, in nats, never processed.

        Raises
        ------
        ServerError
            The server cannot be reached, or its answer is not whole.
        """
        ...

    def likeliest(self, context: Sequence[int], n: int, **sampling: Any) -> list[tuple[str, float]]:
        """Return the server's ``n`` likeliest next tokens as it writes them, with log-probabilities.

        ``sampling`` (a temperature, say) is passed on; it must change nothing.
        """
        ...


@dataclass(frozen=True)
class Prepared:
    """Items that are ready to be asked one request, or a few, each.

    Parameters
    ----------
    inputs
        What is asked about each item; equal inputs are asked once.
    sizes
        Prompt tokens of each item, all its requests together; 0 where nothing tells.
    n_requests
        Requests of each item.
    width
        Numbers of an item's answer; shorter answers are padded with ``-inf``.
    ask
        Asks one input: log-probabilities, one per option or class.
    n_truncated, engine
        As in :class:`calbench.inference.Scored`.
    where
        The address that an error names.
    """

    inputs: Sequence[Hashable]
    sizes: Sequence[int]
    n_requests: Sequence[int]
    width: int
    ask: Callable[[Any], Sequence[float]]
    n_truncated: int
    engine: str
    where: str = ""
