"""What keeps a model from being asked a task at all: it, or the data, is not here, or the two do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calbench import models, tasks
from calbench.errors import CalbenchError, SetupRequiredError, UnanswerableError
from calbench.experiments.cells import Cell, Grid, Selection
from calbench.models import ModelSource


@dataclass(frozen=True)
class Obstacle:
    """Why cells cannot be measured.

    Attributes
    ----------
    what
        The model, the task, or both, by their ids.
    reason
        What is wrong, and what to do.
    axes
        Which parts of a cell it is about.
    """

    what: str
    reason: str
    axes: tuple[str, ...]


def obstacle(model: str, task: str) -> Obstacle | None:
    """Return what keeps a model from being asked a task; no weights are read.

    An embedded model that ``calbench setup`` has still to make is no obstacle, but an error of its own;
    and so is whatever else is wrong with a model or with data.
    """
    try:
        return _of_model(model) or _of_task(task, models.get(model).fetch())
    except CalbenchError:
        return None  # measuring the cell raises it


def excused(cell: Cell, grid: Grid, command_line: Selection) -> Obstacle | None:
    """Return what keeps a cell from being measured, if a pattern or a default picked it and not its ids.

    What is named by its id is to be had: that it is not is an error, which measuring the cell raises.
    """
    parts = {"models": cell.model, "tasks": cell.task}
    picked = [axis for axis, name in parts.items() if not grid.names(axis, name, command_line)]
    if not picked:
        return None
    found = obstacle(cell.model, cell.task)
    return found if found is not None and set(found.axes) & set(picked) else None


def sorted_out(
    cells: Sequence[Cell], grid: Grid, command_line: Selection
) -> tuple[list[Cell], list[tuple[Cell, Obstacle]]]:
    """Divide cells into those to measure and those that are excused, with what is in their way."""
    pairs = {(cell.model, cell.task): cell for cell in cells}
    found = {pair: excused(cell, grid, command_line) for pair, cell in pairs.items()}
    left, out = list[Cell](), list[tuple[Cell, Obstacle]]()
    for cell in cells:
        in_the_way = found[cell.model, cell.task]
        if in_the_way is None:
            left.append(cell)
        else:
            out.append((cell, in_the_way))
    return left, out


def _of_model(name: str) -> Obstacle | None:
    source = models.get(name)
    try:
        source.fetch()
    except SetupRequiredError as error:
        if source.from_setup:
            raise
        return Obstacle(name, str(error), ("models",))
    return None


def _of_task(name: str, source: ModelSource) -> Obstacle | None:
    task = tasks.get(name)
    try:
        _ = task.dataset  # a question about the model comes after those about the data
        task.request(source)
    except SetupRequiredError as error:
        return Obstacle(name, str(error), ("tasks",))
    except UnanswerableError as error:
        return Obstacle(f"{source.id} on {name}", str(error), ("models", "tasks"))
    return None
