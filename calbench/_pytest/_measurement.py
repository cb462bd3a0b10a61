"""One cell, measured when it is asked about, and from the result cache where that gives the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from calbench.baselines import Baseline, snapshot
from calbench.errors import InputError
from calbench.gates import TRANSFER_ARMS, Arm, Comparison, Requirement, no_arm, other_calibrator
from calbench.metrics import Metric
from calbench.report import Row, row_of
from calbench.runs import Cell, ImportedRunner, Measured, ResultCache, Runner, Span, about
from calbench.statistics import Change

BASELINE = "baseline"
QUANTIZER = "quantizer:"


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """A cell's results for every seed; gates use the first.

    Attributes
    ----------
    runner
        Gives the results.
    cell
        The cell.
    seeds
        Of the divisions.
    spans
        Later parts of the task's items that are test items too.
    folds
        In which what gates read is cross-fitted; 1 for one split, which rows have in any case.
    """

    runner: Runner | ImportedRunner
    cell: Cell
    seeds: tuple[int, ...]
    spans: tuple[Span, ...] = ()
    folds: int = 1

    @cached_property
    def row(self) -> Row:
        """The results as plain JSON."""
        row: Row = self.recall(
            lambda: row_of([self.runner.transfer(self.cell, seed=seed) for seed in self.seeds]),
            replace(self, folds=1).about,
            row=True,
        )
        return row

    @cached_property
    def measured(self) -> Measured:
        """The first seed's comparison and records."""
        if isinstance(self.runner, ImportedRunner):
            return self.runner.transfer(self.cell, seed=self.seeds[0], folds=self.folds)
        return self.runner.transfer(self.cell, seed=self.seeds[0], spans=self.spans, folds=self.folds)

    def sizes(self, row: Row) -> tuple[int, int]:
        """Return how many items are fitted on and scored where gates look first; rows have one split."""
        n_calibration, n_test = row["n_calibration"], row["n_test"]
        everything = n_calibration + n_test
        return (everything, everything) if self.folds > 1 and n_calibration else (n_calibration, n_test)

    @property
    def comparison(self) -> Comparison:
        """The first seed's arms."""
        return self.measured.comparison

    def instead(self, **ids: str) -> MeasuredCell:
        """Return another cell that differs in these ids."""
        return replace(self, cell=replace(self.cell, **ids))

    @cached_property
    def about(self) -> dict[str, Any] | None:
        """What its results depend on; None where they are not kept."""
        return about(self.runner, self.cell, self.seeds, self.spans, self.folds)

    def recall(self, make: Callable[[], Any], known: dict[str, Any] | None, **part: Any) -> Any:
        """Return plain JSON that was made before from the same, or make it."""
        cache = ResultCache(self.runner.store)
        return cache.recall(None if known is None else {**known, "part": part}, make)

    def snapshot(self, suite: str, metrics: Iterable[str]) -> Baseline:
        """Return what would be accepted as a baseline today."""
        one_split = replace(self, folds=1)
        return snapshot(one_split.measured, suite=suite, profile=self.runner.profile.name, metrics=metrics)


@dataclass(frozen=True, eq=False)
class CellArms:
    """A cell's five arms, another calibrator's or quantizer's transferred one, and the accepted answers.

    Parameters
    ----------
    cell
        What is measured.
    accepted
        Gives today's answers, as they would be kept, and those that were accepted, for metrics.
    look
        Is told that a test looks at the numbers.
    """

    cell: MeasuredCell
    accepted: Callable[[str], tuple[Baseline, Baseline]]
    look: Callable[[], None]

    @property
    def names(self) -> tuple[str, ...]:
        """The five arms."""
        return TRANSFER_ARMS

    def arm(self, name: str) -> Arm:
        """Return an arm by its name, another calibrator's id, or ``"quantizer:ID"``."""
        self.look()
        if name.startswith(QUANTIZER):
            return self._other(name).comparison.arm("transferred")
        if name == BASELINE:
            raise InputError("the baseline is something to compare with: against='baseline'")
        return self.cell.comparison.arm(name)

    def pair(self, reference: str, candidate: str, metric: Metric) -> tuple[Arm, Arm]:
        """Return two arms; beside a baseline, both as they are kept."""
        if reference != BASELINE:
            return self.arm(reference), self.arm(candidate)
        today, before = self.accepted(metric.id)
        resamples = replace(self.cell, folds=1).comparison.arm("raw_candidate").resamples
        return Arm(before.rows, resamples), Arm(today.rows, resamples)

    def flaw(self, name: str) -> str:  # noqa: ARG002 (no arm of a transfer has one)
        """See :class:`calbench.gates.Arms`."""
        return ""

    def moved_by_asking(self) -> float:
        """See :class:`calbench.gates.Arms`."""
        found = self.cell.recall(
            lambda: {"moved": self.cell.measured.moved_by_asking}, self.cell.about, of="moved by asking"
        )
        return float(found["moved"])

    def recall(self, requirement: Requirement, level: float, make: Callable[[], Change]) -> Change:
        """Return what was measured, from the result cache where nothing it follows from has changed."""
        self.look()
        names = tuple(requirement.of.weights)
        self._check(names)
        plain = self.cell.recall(
            lambda: asdict(make()),
            self._known(requirement.metric, names),
            of=dict(requirement.of.weights),
            metric=requirement.metric.fingerprint,
            relative=requirement.relative,
            at=level,
        )
        return Change(**{**plain, "interval": tuple(plain["interval"])})

    def _check(self, names: tuple[str, ...]) -> None:
        arm = names[0]
        if arm not in TRANSFER_ARMS:
            raise no_arm(arm, TRANSFER_ARMS)
        if BASELINE in names and arm != "transferred":
            raise InputError(f"baselines are of the transferred calibrator; leave arm={arm!r} out")

    def _known(self, metric: Metric, names: tuple[str, ...]) -> dict[str, Any] | None:
        known = self.cell.about
        if BASELINE in names or not metric.function.__module__.startswith("calbench.metrics."):
            return None
        for name in names:
            if known is not None and name not in TRANSFER_ARMS:
                other = self._other(name).about
                known = None if other is None else {**known, "other": other}
        return known

    def _other(self, name: str) -> MeasuredCell:
        if name.startswith(QUANTIZER):
            return self.cell.instead(quantizer=name.removeprefix(QUANTIZER))
        other_calibrator(name)  # or it is refused here
        return self.cell.instead(calibrator=name)
