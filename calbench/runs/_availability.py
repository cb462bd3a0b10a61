"""What keeps a model from being asked a task at all: it, or the data, is not here, or the two do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from calbench import models, tasks
from calbench.errors import SetupRequiredError, UnanswerableError
from calbench.models import ModelSource
from calbench.runs._cells import Cell, Grid, Selection


@dataclass(frozen=True)
class Unavailable:
    """Why cells cannot be measured.

    Attributes
    ----------
    what
        The model, the task, or both, or the calibrator, by their ids.
    reason
        What is wrong, and what to do.
    axes
        Which parts of a cell it is about.
    """

    what: str
    reason: str
    axes: tuple[str, ...]


class Availability:
    """Finds obstacles; each model and each task is looked for once, for a hub may take long to be missed."""

    def __init__(self) -> None:
        self._fetched, self._without_data = cache(_fetched), cache(_without_data)

    def between(self, model: str, task: str) -> Unavailable | None:
        """Return what keeps a model from being asked a task; no weights are read.

        An embedded model that ``calbench setup`` has still to make is no unavailable, but an error of its
        own; and so is whatever else is wrong with a model or with data: measuring the cell raises it.
        """
        try:
            source = self._fetched(model)
            if isinstance(source, Unavailable):
                return source
            missing = self._without_data(task)
            if missing is None:
                tasks.get(task).request(source)
        except UnanswerableError as error:
            return Unavailable(f"{model} on {task}", str(error), ("models", "tasks"))
        except Exception:  # noqa: BLE001 (measuring the cell raises it again, and ends no other)
            return None
        return missing

    def excused(self, cell: Cell, grid: Grid, command_line: Selection) -> Unavailable | None:
        """Return what keeps a cell from being measured, if a pattern or a default picked it and not its ids.

        What is named by its id is to be had: that it is not is an error, which measuring the cell raises.
        """
        parts = {"models": cell.model, "tasks": cell.task}
        picked = {axis for axis, name in parts.items() if not grid.names(axis, name, command_line)}
        found = self.between(cell.model, cell.task) if picked else None
        return found if found is not None and picked.intersection(found.axes) else None

    def sorted_out(
        self, cells: Sequence[Cell], grid: Grid, command_line: Selection
    ) -> tuple[list[Cell], list[tuple[Cell, Unavailable]]]:
        """Divide cells into those to measure and those that are excused, with what is in their way."""
        left, out = list[Cell](), list[tuple[Cell, Unavailable]]()
        for cell in cells:
            found = self.excused(cell, grid, command_line)
            if found is None:
                left.append(cell)
            else:
                out.append((cell, found))
        return left, out


def _fetched(name: str) -> ModelSource | Unavailable:
    source = models.get(name)
    try:
        return source.fetch()
    except SetupRequiredError as error:
        if source.from_setup:
            raise
        return Unavailable(name, str(error), ("models",))


def _without_data(name: str) -> Unavailable | None:
    try:
        _ = tasks.get(name).dataset
    except SetupRequiredError as error:
        return Unavailable(name, str(error), ("tasks",))
    return None
