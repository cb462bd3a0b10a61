"""Cells of a leaderboard out of records that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbench.gates import MARGIN
from calbench.records import AnyRecord
from calbench.report._format import Row
from calbench.report._results import merge, row_of
from calbench.runs import Cell, ImportedRunner, Measured
from calbench.seeds import SEED, Seed, seed_number


@dataclass(frozen=True)
class ImportedCells:
    """Rows for a report, and what is known about the records behind them.

    Attributes
    ----------
    rows
        One a cell.
    notes
        What was left out and why.
    """

    rows: list[Row]
    notes: tuple[str, ...]
    _runner: ImportedRunner = field(repr=False)

    def describe(self, key: str) -> Mapping[str, Any]:
        """Return the identity and provenance of a record."""
        return self._runner.describe(key)


def cells_of_records(
    records: Mapping[str, AnyRecord],
    *,
    calibrators: Sequence[str] = ("identity", "temperature"),
    reference: str | None = None,
    margin: float = MARGIN,
    seed: Seed = SEED,
    n_resamples: int = 2000,
) -> ImportedCells:
    """Run the transfer experiment between records of the same model and task.

    Parameters
    ----------
    records
        By a name for messages, such as a path; their metadata say ``model``, ``task`` and
        ``quantizer``.
    calibrators
        Ids; those that need class vectors are left out for records of the top answer only, and those
        that need a unit error for all.
    reference
        The quantizer that calibrators are fitted on; by default fp32, bf16 or fp16.
    margin
        How much ECE may rise: a gate of every cell.
    seed
        Of the division of the items and of the resamples.
    n_resamples
        Of the bootstrap.

    Raises
    ------
    InputError
        A record does not say what it is of, two are of one cell, or a group has no reference.
    """
    number = seed_number(seed)
    runner = ImportedRunner.of(records, reference=reference, n_resamples=n_resamples)
    rows: list[Row] = []
    notes: list[str] = []
    for place in runner.records:
        for calibrator in calibrators:
            cell = Cell(*place, calibrator)
            if not runner.can_fit(calibrator, *place):
                notes.append(f"{cell.id}: {calibrator} needs class vectors; left out")
                continue
            if (missing := runner.missing(cell)) is not None:
                notes.append(f"{cell.id}: {missing}; left out")
                continue
            measured = runner.transfer(cell, seed=number)
            own = cell.quantizer == runner.references[cell.model, cell.task]
            rows.append(row_of([measured]) if own else _gated(measured, margin))
    return ImportedCells(merge(rows), tuple(notes), runner)


def _gated(measured: Measured, margin: float) -> Row:
    decision = measured.comparison.decide("ece", max_increase=margin)
    test = f"{measured.cell.id}: ECE rises by at most {margin:g}"
    return {**row_of([measured]), "gates": [decision.to_plain(test=test)]}
