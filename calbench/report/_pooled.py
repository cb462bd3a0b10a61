"""Tasks that were selected as one group: their mean, weighted by items, with an interval of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

from calbench.report._format import EstimateRow, Estimates, Row


class PooledLine(TypedDict):
    """A quantizer and calibrator over the tasks of a group."""

    quantizer: str
    calibrator: str
    n_tasks: int
    n_test: int
    transferred: Estimates
    degradation: Estimates


def pooled(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[PooledLine]]]:
    """Yield each model and group of two tasks or more, with a line for each quantizer and calibrator.

    Tasks share no items, so the errors of their estimates are independent: each side of the interval is
    the root of the sum of squares of the tasks' own (Zou & Donner, Statistics in Medicine 27, 2008).
    A line is of those tasks that have it; ``n_tasks`` says how many.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        if row.get("group"):
            lines = found.setdefault((row["model"], row["group"]), {})
            lines.setdefault((row["quantizer"], row["calibrator"]), []).append(row)
    for (model, group), lines in found.items():
        if len({row["task"] for members in lines.values() for row in members}) > 1:
            yield model, group, [_line(key, members) for key, members in lines.items()]


def _line(key: tuple[str, str], members: Sequence[Row]) -> PooledLine:
    first = members[0]
    arms = first["arms"]["transferred"]
    metrics = [m for m in arms if all(m in row["arms"]["transferred"] for row in members)]
    return {
        "quantizer": key[0],
        "calibrator": key[1],
        "n_tasks": len(members),
        "n_test": sum(row["n_test"] for row in members),
        "transferred": {m: _mean(members, [r["arms"]["transferred"][m] for r in members]) for m in metrics},
        "degradation": {"ece": _mean(members, [row["degradation"]["ece"] for row in members])},
    }


def _mean(rows: Sequence[Row], estimates: Sequence[EstimateRow]) -> EstimateRow:
    parts = [(row["n_test"], estimate) for row, estimate in zip(rows, estimates, strict=True)]
    total = sum(n for n, _ in parts)
    value = sum(n * part["value"] for n, part in parts) / total
    below, above = (
        math.sqrt(sum((n / total * (part["interval"][side] - part["value"])) ** 2 for n, part in parts))
        for side in (0, 1)
    )
    return {"value": value, "interval": [value - below, value + above]}
