"""What a run will ask, before anything is asked: how items are divided, requests and prompt tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from calbench import models, tasks
from calbench.errors import InputError
from calbench.models import ModelSource, is_chat, is_decision_server
from calbench.runs._cells import Cell, Profile
from calbench.runs._declarations import declared_source
from calbench.runtimes import count_messages, count_requests


@dataclass(frozen=True)
class ServedEstimate:
    """One served build on one task.

    Attributes
    ----------
    n_requests, n_tokens
        If nothing is in the store yet; each continuation is a request with its context, and so is each
        decision, and each first word of a chat that need not be forced. Servers that cache prefixes read
        fewer tokens, and may bill fewer. None where the tokenizer is the server's secret.
    """

    model: str
    build: str
    task: str
    n_items: int
    n_requests: int
    n_tokens: int | None


def served_estimate(cells: Iterable[Cell], profile: Profile) -> list[ServedEstimate]:
    """Count for each served build and task; raises :class:`InputError` without one, or a tokenizer."""
    found = []
    for model, build, task in dict.fromkeys((c.model, c.quantizer, c.task) for c in cells):
        if (source := declared_source(model)) and source.builds:
            found.append(_counted(source.fetch(), build, task, profile))
    if not found:
        raise InputError("no model of this run is served; only requests to servers are counted")
    return found


def _counted(source: ModelSource, build: str, task: str, profile: Profile) -> ServedEstimate:
    asked = tasks.get(task)
    evaluation = asked.partition.evaluation
    items = evaluation[: sum(profile.sizes(source.architecture, len(evaluation)))]
    request: Any = asked.request(source)
    place = dict(source.builds)[build]
    if is_decision_server(place) or (is_chat(place) and not source.location):
        return ServedEstimate(source.id, build, task, len(items), len({i.content for i in items}), None)
    if not source.location:
        raise InputError(
            f"{source.id}: without a tokenizer nothing can be counted; name one in calbench.toml"
        )
    count = count_messages if is_chat(place) else count_requests
    n_requests, n_tokens = count(source.load_tokenizer(), source, request, items)
    return ServedEstimate(source.id, build, task, len(items), n_requests, n_tokens)


def estimate_text(estimates: Iterable[ServedEstimate]) -> str:
    """Return the estimate as lines, the sum last."""
    rows = list(estimates)
    lines = [
        f"{e.model} × {e.build} × {e.task}: {e.n_items:,} items, {e.n_requests:,} requests,"
        f" {_tokens(e.n_tokens)}"
        for e in rows
    ]
    known = [e.n_tokens for e in rows if e.n_tokens is not None]
    total = sum(e.n_requests for e in rows), sum(known) if len(known) == len(rows) else None
    return "\n".join([*lines, f"together {total[0]:,} requests, {_tokens(total[1])}; nothing was asked"])


def division(model: str, name: str, profile: Profile) -> str:
    """Say how the items of a task are divided that a model is asked about.

    Raises
    ------
    CalbenchError
        The model or the task is not known, or its data is not here.
    """
    task = tasks.get(name)
    parts = task.partition
    n_fit, n_scored = profile.sizes(models.get(model).architecture, len(parts.evaluation))
    apart = {
        "set aside for quantizers": len(parts.quantization),
        "set aside for training": len(parts.training),
        "not asked": len(parts.evaluation) - n_fit - n_scored,
    }
    rest = "".join(f", {n:,} {what}" for what, n in apart.items() if n)
    return (
        f"{model} on {name}: {len(task.dataset.items):,} items; {n_fit:,} fit calibrators, {n_scored:,} are"
        f" scored{rest}"
    )


def _tokens(n_tokens: int | None) -> str:
    return (
        "prompt tokens that only the server can count" if n_tokens is None else f"{n_tokens:,} prompt tokens"
    )
