"""The fixture ``calbench``: one cell of a grid, or the user's own arrays and records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

import numpy.typing as npt
import pytest

import calbench
from calbench._pytest._baseline_update import UPDATE, Baselines
from calbench._pytest._court import TestCourt
from calbench._pytest._log import TestLog
from calbench._pytest._looks import CellLooks
from calbench._pytest._measurement import BASELINE, CellArms, MeasuredCell
from calbench._pytest._options import Options
from calbench.adaptation import VariantStudy
from calbench.baselines import changes
from calbench.gates import (
    TRANSFER_CONTRASTS,
    Comparison,
    Decision,
    Gate,
    Requirement,
    compare,
    needs_items,
)
from calbench.records import AnyRecord
from calbench.report import VariantsRow
from calbench.runs import Cell, Grid, Measured, Unavailable


class Provider(Protocol):
    """What a test's cell is measured by."""

    @property
    def options(self) -> Options:
        """What the run was asked for."""
        ...

    @property
    def n_gates(self) -> int:
        """How many gates a failure must stand among; 1 where nothing is corrected."""
        ...

    def measured(self, cell: Cell) -> MeasuredCell:
        """Return a cell, to be measured when it is asked about."""
        ...

    def variants(self, cell: Cell) -> tuple[VariantStudy, VariantsRow]:
        """Return a cell's variants for the first seed, and a row of results without gates."""
        ...

    def baselines(self, suite: str) -> Baselines:
        """Return the baselines that a suite compares with."""
        ...

    def excused(self, cell: Cell, grid: Grid) -> Unavailable | None:
        """Return what keeps a cell of a grid from being measured here."""
        ...


class CalbenchFixture:
    """What a test asks for by the name ``calbench``.

    Inside the test it hides the module of that name, so every name of the module is an attribute.

    Attributes
    ----------
    cell
        The ids of the model, task, quantizer and calibrator; None in a test without a grid.
    log
        What the test leaves behind.
    """

    def __init__(
        self, provider: Provider, test: str, suite: str, grid: Grid, cell: Cell | None, log: TestLog
    ) -> None:
        self.cell, self.log = cell, log
        self._provider, self._test, self._suite, self._grid = provider, test, suite, grid

    @property
    def subject(self) -> str:
        """What messages name: the cell, or the test."""
        return self.cell.id if self.cell else self._test.split("::", 1)[-1]

    def transfer(self) -> Comparison:
        """Fit the cell's calibrator on the full-precision model and use it on the quantized one.

        Returns
        -------
        calbench.gates.Comparison
            Of the five arms of :func:`calbench.transfer`; ``against`` takes besides ``"baseline"`` and
            ``"quantizer:ID"``.
        """
        found = self._provider.measured(self._given_cell("transfer a calibrator"))
        row = found.row
        if found.folds == 1 < self._provider.options.folds and needs_items(found.cell.calibrator):
            why = f"{found.cell.calibrator} has one split: it learns too many numbers to be cross-fitted"
            row["warnings"] = [*row["warnings"], why]
        self.log.rows.append(row)
        lines = _CellLines(found, self._provider.baselines(self._suite), self.log)
        court = replace(
            self._court(row["gates"]),
            whom=f"{whom(found.cell)}, seed {row['seed']}",
            details=lines.details,
            admits=lines.admits,
        )
        arms = CellArms(found, lines.kept, self._look)
        return Comparison(
            arms,
            "calibrated_reference",
            "transferred",
            TRANSFER_CONTRASTS,
            row["level"],
            *found.sizes(row),
            tuple(row["arms"]["transferred"]),
            row["calibrator"],
            court,
            CellLooks.of(found, arms, self._provider.n_gates),
            lambda _: iter(row["warnings"]),
            found.folds,
        )

    def measured(self, *, task: str | None = None) -> Measured:
        """Return the cell's comparison with the records of the reference and of the quantized model.

        Parameters
        ----------
        task
            Another task for the same model and quantizer, such as ``"triage[order=shuffled]"``.
        """
        self._look()
        cell = self._given_cell("measure")
        return self._provider.measured(replace(cell, task=task or cell.task)).measured

    def arms(self) -> Comparison:
        """Compare tuning, quantization and distillation as arms on the same items, for the first seed.

        Returns
        -------
        calbench.gates.Comparison
            Of the variants of :data:`calbench.adaptation.VARIANTS`. A collapsed arm fails whatever its metric
            says: the calibration of a model that knows nothing is no achievement.
        """
        cell = self._given_cell("compare arms")
        study, row = self._provider.variants(cell)
        self.log.arms.append(row)
        records = [f"record of {name}: {record.key}" for name, record in study.records.items()]
        court = replace(
            self._court(row["gates"]),
            whom=f"{whom(cell)}, seed {study.seed}",
            details=lambda *_: (records, []),
        )
        return replace(study.comparison, court=court)

    def compare(
        self,
        reference: npt.ArrayLike | AnyRecord,
        candidate: npt.ArrayLike | AnyRecord,
        labels: npt.ArrayLike | None = None,
        *,
        clusters: Iterable[object] | None = None,
        name: str | None = None,
    ) -> Comparison:
        """Put a candidate's answers beside a reference's; see :func:`calbench.compare`.

        Parameters
        ----------
        reference, candidate
            Logits ``(n, k)`` of the same items in the same order, or two records.
        labels : (n,) int
            The right classes, for logits only.
        clusters : (n,)
            Which items were sampled together.
        name
            What the summary calls it; by default the test's name.
        """
        name = name or self._test.split("::", 1)[-1]
        options = self._provider.options
        compared = compare(
            reference,
            candidate,
            labels,
            clusters=clusters,
            level=options.level,
            n_resamples=options.resamples,
            seed=options.seeds[0] if options.bootstrap_seed is None else options.bootstrap_seed,
        )
        gates: list[Gate] = []
        self.log.comparisons.append(
            {"name": name, "n_test": compared.n_test, "level": compared.level, "gates": gates}
        )
        return replace(compared, court=replace(self._court(gates), subject=name))

    def __getattr__(self, name: str) -> Any:
        return getattr(calbench, name)

    def _court(self, gates: list[Gate]) -> TestCourt:
        return TestCourt(self._provider.options, self._test, self.subject, gates, self.log)

    def _look(self) -> None:
        self.log.asked = True

    def _given_cell(self, purpose: str) -> Cell:
        """Return the cell; fail without one, skip where a pattern picked what cannot be had here."""
        if self.cell is None:
            pytest.fail(
                f"{self._test} has no cell to {purpose} in;"
                " put pytestmark = calbench.grid() at the top of its module",
                pytrace=False,
            )
        unavailable = self._provider.excused(self.cell, self._grid)
        if unavailable is not None:
            self.log.skipped.append((unavailable.what, unavailable.reason))
            pytest.skip(unavailable.reason)
        return self.cell


class _CellLines:
    """What a cell's court must know: whether the baseline is asked, and what explains a failure."""

    def __init__(self, cell: MeasuredCell, baselines: Baselines, log: TestLog) -> None:
        self._cell, self._baselines, self._log = cell, baselines, log

    def admits(self, requirement: Requirement) -> bool:
        """Leave out what is required against a baseline where none is named; offer it where one is made."""
        if requirement.reference != BASELINE:
            return True
        if self._baselines.folder is None:
            self._log.unasked += 1
            return False
        if self._baselines.updating:
            self._log.baselines.append(
                self._baselines.offered(self._cell.snapshot(self._baselines.suite, (requirement.metric.id,)))
            )
            return False
        return True

    def kept(self, metric: str) -> Any:
        """Return today's answers and those that were accepted."""
        today = self._cell.snapshot(self._baselines.suite, (metric,))
        return today, self._baselines.accepted(self._cell.cell, today, metric)

    def details(self, _: Comparison, decision: Decision) -> tuple[list[str], list[str]]:
        """Return what is known of the cell, and how to accept a failure."""
        measured = self._cell.measured
        keys = measured.reference.key, measured.candidate.key
        if decision.requirement.reference == BASELINE:
            today, before = self.kept(decision.requirement.metric.id)
            changed = changes(before, today) or ["nothing that its records' keys are made of"]
            return [], [
                *(f"changed since the baseline: {one}" for one in changed),
                f"records: baseline {before.records['candidate']}",
                f"         today    {keys[1]}",
                f"to accept it, run the test again with {UPDATE}",
            ]
        metric = decision.requirement.metric
        values = (
            f"{said} {measured.comparison.arm(arm).resampled(metric).value:.4f}"
            for said, arm in (
                ("raw: reference", "raw_reference"),
                ("quantized", "raw_candidate"),
                ("refitted on the quantized model", "refitted"),
            )
        )
        return [", ".join(values)], [
            *(f"note: {warning}" for warning in measured.warnings),
            f"records: reference {keys[0]}",
            f"         candidate {keys[1]}",
            f"to accept it, give this requirement accepted={{{self._cell.cell.id!r}: 'why'}}",
        ]


def whom(cell: Cell) -> str:
    """Name a cell's parts."""
    return f"model {cell.model}, task {cell.task}, quantizer {cell.quantizer}, calibrator {cell.calibrator}"
