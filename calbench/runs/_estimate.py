"""What a served run takes, before anything is asked: requests and prompt tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from calbench import tasks
from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.runs._cells import Cell, Profile
from calbench.runs._declarations import declared_source
from calbench.runtimes import count_requests


@dataclass(frozen=True)
class ServedEstimate:
    """One served build on one task.

    Attributes
    ----------
    n_requests, n_tokens
        If nothing is in the store yet; each continuation is a request with its context. Servers that cache
        prefixes read fewer tokens, and may bill fewer.
    """

    model: str
    build: str
    task: str
    n_items: int
    n_requests: int
    n_tokens: int


def served_estimate(cells: Iterable[Cell], profile: Profile) -> list[ServedEstimate]:
    """Count for each served build and task; raises :class:`InputError` without one, or a tokenizer."""
    found = []
    for model, build, task in dict.fromkeys((c.model, c.quantizer, c.task) for c in cells):
        if (source := declared_source(model)) and source.builds:
            found.append(_counted(source.fetch(), build, task, profile))
    if not found:
        raise InputError("no model of this run is served; --dry-run counts requests to servers")
    return found


def _counted(source: ModelSource, build: str, task: str, profile: Profile) -> ServedEstimate:
    if not source.location:
        raise InputError(
            f"{source.id}: without a tokenizer nothing can be counted; name one in calbench.toml"
        )
    asked = tasks.get(task)
    evaluation = asked.partition.evaluation
    items = evaluation[: sum(profile.sizes(source.architecture, len(evaluation)))]
    request: Any = asked.request(source)
    n_requests, n_tokens = count_requests(source.load_tokenizer(), source, request, items)
    return ServedEstimate(source.id, build, task, len(items), n_requests, n_tokens)


def estimate_text(estimates: Iterable[ServedEstimate]) -> str:
    """Return the estimate as lines, the sum last."""
    rows = list(estimates)
    lines = [
        f"{e.model} × {e.build} × {e.task}: {e.n_items:,} items, {e.n_requests:,} requests,"
        f" {e.n_tokens:,} prompt tokens"
        for e in rows
    ]
    total = sum(e.n_requests for e in rows), sum(e.n_tokens for e in rows)
    return "\n".join(
        [*lines, f"together {total[0]:,} requests, {total[1]:,} prompt tokens; nothing was asked"]
    )
