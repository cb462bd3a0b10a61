"""The fixture ``calbench``: one cell of a grid, or the user's own arrays and records."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import pytest

import calbench
from calbench._pytest._arms import ArmsUnderTest
from calbench._pytest._evidence import ComparisonEvidence
from calbench._pytest._judge import Judge
from calbench._pytest._log import Gate, TestLog
from calbench._pytest._transfer import TransferUnderTest
from calbench.gates import Comparison, Limits, check_against, compare, requirements
from calbench.records import AnyRecord
from calbench.runs import Cell, Grid

if TYPE_CHECKING:
    from calbench._pytest._session import Session


class CalbenchFixture:
    """What a test asks for by the name ``calbench``.

    Inside the test it hides the module of that name, so every name of the module is an attribute.

    Attributes
    ----------
    cell
        The ids of the model, task, quantizer and calibrator; None in a test without a grid.
    """

    def __init__(
        self, session: Session, test: str, suite: str, grid: Grid, cell: Cell | None, log: TestLog
    ) -> None:
        self.cell = cell
        self._session, self._test, self._suite, self._grid, self._log = session, test, suite, grid, log

    def transfer(self) -> TransferUnderTest:
        """Fit the cell's calibrator on the full-precision model and use it on the quantized one."""
        cell = self._given_cell("transfer a calibrator")
        judge = Judge(self._session.options, self._test, cell.id)
        return TransferUnderTest(
            self._session.measured(cell), judge, self._log, self._session.baselines(self._suite)
        )

    def arms(self) -> ArmsUnderTest:
        """Compare tuning, quantization and distillation as arms on the same items, for the first seed."""
        cell = self._given_cell("compare arms")
        judge = Judge(self._session.options, self._test, cell.id)
        result, row = judge.guarded(lambda: self._session.arms(cell))
        self._log.arms.append(row)
        fails = self._session.options.inconclusive == "fail"
        return ArmsUnderTest(result, cell, test=self._test, row=row, inconclusive_fails=fails)

    def compare(
        self,
        reference: npt.ArrayLike | AnyRecord,
        candidate: npt.ArrayLike | AnyRecord,
        labels: npt.ArrayLike | None = None,
        *,
        name: str | None = None,
    ) -> ComparisonUnderTest:
        """Put a candidate's answers beside a reference's; see :func:`calbench.compare`.

        Parameters
        ----------
        reference, candidate
            Logits ``(n, k)`` of the same items in the same order, or two records.
        labels : (n,) int
            The right classes, for logits only.
        name
            What the summary calls it; by default the test's name.
        """
        name = name or self._test.split("::", 1)[-1]
        judge = Judge(self._session.options, self._test, name)
        options = self._session.options
        comparison = judge.guarded(
            lambda: compare(
                reference,
                candidate,
                labels,
                level=options.level,
                n_resamples=options.resamples,
                seed=options.bootstrap_seed or 0,
            )
        )
        return ComparisonUnderTest(comparison, name, judge, self._log)

    def __getattr__(self, name: str) -> Any:
        return getattr(calbench, name)

    def _given_cell(self, purpose: str) -> Cell:
        """Return the cell; fail without one, skip where a pattern picked what cannot be had here."""
        if self.cell is None:
            pytest.fail(
                f"{self._test} has no cell to {purpose} in;"
                " put pytestmark = calbench.grid() at the top of its module",
                pytrace=False,
            )
        obstacle = self._session.excused(self.cell, self._grid)
        if obstacle is not None:
            self._log.skipped.append((obstacle.what, obstacle.reason))
            pytest.skip(obstacle.reason)
        return self.cell


class ComparisonUnderTest:
    """Two of the user's own records, on which a test states what must hold.

    Attributes
    ----------
    comparison
        The records and the numbers.
    """

    def __init__(self, comparison: Comparison, name: str, judge: Judge, log: TestLog) -> None:
        self.comparison = comparison
        self._name, self._judge = name, judge
        self._gates: list[Gate] = []
        log.comparisons.append(
            {
                "name": name,
                "n_test": len(comparison.reference),
                "level": comparison.level,
                "gates": self._gates,
            }
        )

    def require(  # noqa: PLR0913 (a sentence names one limit)
        self,
        *metrics: str,
        at_most: float | None = None,
        at_least: float | None = None,
        max_increase: float | None = None,
        max_decrease: float | None = None,
        max_relative_increase: float | None = None,
        max_relative_decrease: float | None = None,
        level: float | None = None,
        against: None = None,
        accepted: Mapping[str, str] = MappingProxyType({}),
    ) -> ComparisonUnderTest:
        """Fail the test if a metric is shown to break its limit.

        Parameters are those of :meth:`calbench.gates._comparison.Comparison.require`; ``accepted`` names
        regressions that were looked at, by the comparison's name or a glob, and why.
        """
        self._judge.guarded(lambda: check_against(against))
        limits = Limits(
            at_most, at_least, max_increase, max_decrease, max_relative_increase, max_relative_decrease
        )
        for wanted in self._judge.guarded(lambda: requirements(metrics or ("ece",), limits, level=level)):
            evidence = ComparisonEvidence(
                self.comparison, self._name, reference=None if wanted.is_limit else "reference"
            )
            self._judge.judge(wanted, evidence, self._gates, accepted)
        return self
