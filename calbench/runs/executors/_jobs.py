"""A grid as a list of jobs that do not depend on each other: each makes one record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from calbench.errors import CalbenchError
from calbench.runs._cells import PROFILES, Cell
from calbench.runs._declarations import reference_of
from calbench.runs._runner import Runner
from calbench.store import Store


@dataclass(frozen=True, order=True)
class Job:
    """One model at one precision on one task."""

    model: str
    quantizer: str
    task: str

    def __str__(self) -> str:
        return f"{self.model} × {self.quantizer} × {self.task}"


@dataclass(frozen=True)
class Failure:
    """A job that gave no record, and why."""

    job: Job
    reason: str


def jobs_of(cells: Iterable[Cell]) -> list[Job]:
    """Return the records that cells are computed from, references first, each once."""
    cells = list(cells)
    references = [Job(cell.model, reference_of(cell.model), cell.task) for cell in cells]
    return list(dict.fromkeys([*references, *(Job(c.model, c.quantizer, c.task) for c in cells)]))


def run_job(job: Job, *, store: str, profile: str) -> str | Failure:
    """Make a job's record in a store, unless it is there; returns its key.

    What an earlier attempt finished is used. A job that cannot be done (a quantizer that does not
    fit the model, say) is a :class:`Failure`: trying again would not help.
    """
    runner = Runner(Store.at(store), PROFILES[profile])
    try:
        return runner.record(job.model, job.quantizer, job.task).key
    except CalbenchError as error:
        return Failure(job, f"{type(error).__name__}: {error}")
