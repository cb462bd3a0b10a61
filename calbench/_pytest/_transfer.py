"""Requirements on a cell: a calibrator that was fitted before quantization, used after it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from calbench import calibrators
from calbench._pytest._baseline_update import BaselineEvidence, Baselines
from calbench._pytest._evidence import CellEvidence
from calbench._pytest._judge import Evidence, Judge
from calbench._pytest._log import TestLog
from calbench._pytest._measurement import MeasuredCell, check_arm
from calbench.errors import InputError, UnknownNameError
from calbench.gates import ARMS, Limits, Requirement, TransferResult, requirements
from calbench.report import Row
from calbench.runs import Measured

BASELINE = "baseline"


class TransferUnderTest:
    """A transfer result on which a test states what must hold.

    Attributes
    ----------
    row
        The results as plain JSON, as in ``results.json``.
    """

    def __init__(self, cell: MeasuredCell, judge: Judge, log: TestLog, baselines: Baselines) -> None:
        self._cell, self._judge, self._log, self._baselines = cell, judge, log, baselines
        self.row: Row = judge.guarded(lambda: cell.row)
        log.rows.append(self.row)

    @property
    def result(self) -> TransferResult:
        """The numbers, a :class:`calbench.gates.TransferResult`."""
        return self._judge.guarded(lambda: self._cell.result)

    @property
    def measured(self) -> Measured:
        """The result with the records of the reference and of the quantized model."""
        return self._judge.guarded(lambda: self._cell.measured)

    @property
    def brier(self) -> str:
        """Id of the Brier score that the records allow: of every class, or of the top answer alone."""
        return "brier" if "brier" in self.row["arms"]["transferred"] else "brier_toplabel"

    def require(  # noqa: PLR0913 (a sentence names one limit)
        self,
        *metrics: str,
        at_most: float | None = None,
        at_least: float | None = None,
        max_increase: float | None = None,
        max_decrease: float | None = None,
        max_relative_increase: float | None = None,
        max_relative_decrease: float | None = None,
        against: str = "calibrated_reference",
        arm: str = "transferred",
        level: float | None = None,
        accepted: Mapping[str, str] = MappingProxyType({}),
    ) -> TransferUnderTest:
        """Fail the test if a metric is shown to break its limit.

        Parameters
        ----------
        metrics
            Ids such as ``"ece"``, which is also what is required if none is named.
        at_most, at_least
            The metric itself: a ceiling (or a floor, for ``accuracy``).
        max_increase, max_decrease
            How much worse than ``against``, in the metric's unit; negative asks for an improvement.
        max_relative_increase, max_relative_decrease
            The same as a share of what it is compared with, 0.05 for 5%.
        against
            What to compare with: an arm (``"calibrated_reference"``, ``"raw_reference"``,
            ``"raw_candidate"`` or ``"native"``), the id of another calibrator (transferred
            likewise), or ``"baseline"``: what was accepted last time. That one is asked only where
            the run names a folder with ``--calbench-baseline``.
        arm
            What is judged, if not the transferred calibrator.
        level
            Of the interval, for this requirement.
        accepted
            Regressions that were looked at and accepted: a cell's id, or a glob of ids, and the
            reason. Such a cell is measured and shown as failed, but its test counts as an expected
            failure.

        Returns
        -------
        TransferUnderTest
            Itself, for a further requirement.
        """
        limits = Limits(
            at_most, at_least, max_increase, max_decrease, max_relative_increase, max_relative_decrease
        )
        for wanted in self._judge.guarded(lambda: requirements(metrics or ("ece",), limits, level=level)):
            evidence = self._judge.guarded(lambda wanted=wanted: self._evidence(wanted, arm, against))  # type: ignore[misc]
            if evidence is not None:
                self._judge.judge(wanted, evidence, self.row["gates"], accepted)
        return self

    def _evidence(self, wanted: Requirement, arm: str, against: str) -> Evidence | None:
        check_arm(arm)
        if wanted.is_limit:
            return CellEvidence(self._cell, arm, None)
        if against == BASELINE:
            return self._from_baseline(wanted, arm)
        if against not in ARMS:
            try:
                calibrators.get(against)
            except UnknownNameError as error:
                known = ", ".join((*ARMS, BASELINE))
                raise InputError(f"against={against!r} is neither one of {known}, and {error}") from None
        return CellEvidence(self._cell, arm, against)

    def _from_baseline(self, wanted: Requirement, arm: str) -> BaselineEvidence | None:
        if arm != "transferred":
            raise InputError(f"baselines are of the transferred calibrator; leave arm={arm!r} out")
        if self._baselines.folder is None:
            self._log.unasked += 1
            return None
        today = self._cell.snapshot(self._baselines.suite, (wanted.metric.id,))
        if self._baselines.updating:
            self._baselines.offer(self._log, today)
            return None
        return self._baselines.evidence(self._cell, today, wanted)
