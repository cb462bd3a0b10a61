"""In which looks the gates of a cell may be judged, and which further items each look asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calbench import tasks
from calbench.runs._cells import Cell
from calbench.runs._runner import Runner, Span
from calbench.statistics import Look, looks
from calbench.store import planned_totals


@dataclass(frozen=True)
class CellLook:
    """One look at a cell.

    Attributes
    ----------
    look
        How many test items a fitted calibrator has there, and the look's part of the error.
    there
        All test items of the task.
    spans
        Later parts of the task's items that are test items beside those of the profile.
    """

    look: Look
    there: int
    spans: tuple[Span, ...] = ()


def cell_looks(runner: Runner, cell: Cell, folds: int = 1) -> tuple[CellLook, ...]:
    """Return the looks at a cell that this run may take, in order.

    The first is at the profile's test items, and calibrators are fitted on the profile's calibration
    items at all of them; with folds on all items of each look, which all are test items. A task whose items
    lie in clusters is looked at once. How many items were planned
    is kept in the store: who asks more in a later run spends from what was kept for that.
    """
    key = (cell.model, cell.quantizer, cell.task, folds)
    if key not in runner.looks:
        runner.looks[key] = _planned(runner, cell, folds)
    return runner.looks[key]


def _planned(runner: Runner, cell: Cell, folds: int) -> tuple[CellLook, ...]:
    source = runner.source(cell.model).model
    evaluation = tasks.get(cell.task).partition.evaluation
    n_items = len(evaluation)
    n_calibration, first = runner.profile.sizes(source.architecture, n_items)
    if folds > 1:
        n_calibration, first = 0, n_calibration + first
    there = n_items - n_calibration
    wanted = runner.most_items
    if wanted is None:
        wanted = runner.profile.asks_on.get(source.architecture, first) or there
    most = min(max(wanted, first), there)
    if tasks.clusters_of(evaluation):  # a later look might ask of a cluster that calibrators were fitted on
        most = first
    totals = planned_totals(runner.store, _question(runner, cell, (n_calibration, first)), most)
    planned = looks(totals[0], first=first, extended=totals[1:])
    found, spans, asked = list[CellLook](), tuple[Span, ...](), first
    for look in planned:
        if look.n > most:
            break
        if look.n > asked:
            spans = (*spans, (n_calibration + asked, n_calibration + look.n))
            asked = look.n
        found.append(CellLook(look, there, spans))
    return tuple(found)


def _question(runner: Runner, cell: Cell, sizes: tuple[int, int]) -> dict[str, Any]:
    """What is the same question, however many items are asked: the models, the task and how it is asked."""
    reference = runner.source(cell.model).model.reference
    asked = [runner.identity(cell.model, q, cell.task) for q in (reference, cell.quantizer)]
    return {
        "looks": [{**identity, "task": identity["task"]["request"]} for identity in asked],
        "task": cell.task,
        "sizes": list(sizes),
    }
