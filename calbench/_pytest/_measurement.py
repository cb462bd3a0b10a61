"""One cell, measured when it is asked about, and from memory where that gives the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from calbench.baselines import Baseline, snapshot
from calbench.errors import InputError
from calbench.gates import ARMS, Pair, Requirement, TransferResult
from calbench.metrics import Metric
from calbench.registry import unknown
from calbench.report import Row, row_of
from calbench.runs import Bench, Cell, ImportedBench, Measured, Memory, about
from calbench.statistics import Change, Resampled, Resamples, change, resample


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """A cell's results for every seed; gates use the first.

    Attributes
    ----------
    bench
        Gives the results.
    cell
        The cell.
    seeds
        Of the divisions.
    """

    bench: Bench | ImportedBench
    cell: Cell
    seeds: tuple[int, ...]

    @cached_property
    def row(self) -> Row:
        """The results as plain JSON."""
        row: Row = self._memory.recall(
            _part(self._about, row=True),
            lambda: row_of([self.bench.transfer(self.cell, seed=seed) for seed in self.seeds]),
        )
        return row

    @cached_property
    def measured(self) -> Measured:
        """The first seed's result and records."""
        return self.bench.transfer(self.cell, seed=self.seeds[0])

    @property
    def result(self) -> TransferResult:
        """The first seed's result."""
        return self.measured.result

    def change(self, requirement: Requirement, arm: str, against: str | None) -> Change:
        """Return a metric's change from ``against`` to an arm, or where the arm's own metric lies."""
        level = requirement.level or self.bench.level
        known = self._about
        if against is not None and against not in ARMS:
            other = about(self.bench, replace(self.cell, calibrator=against), self.seeds)
            known = other and known and {**known, "other": other}
        if not _is_own(requirement.metric):
            known = None
        plain = self._memory.recall(
            _part(
                known,
                arm=arm,
                against=against,
                metric=requirement.metric.fingerprint,
                relative=requirement.relative,
                at=level,
            ),
            lambda: asdict(
                change(*self.resampled(requirement, arm, against), relative=requirement.relative, level=level)
            ),
        )
        return Change(**{**plain, "interval": tuple(plain["interval"])})

    def resampled(
        self, requirement: Requirement, arm: str, against: str | None
    ) -> tuple[Resampled, Resampled | None]:
        """Return a metric of an arm and of what it is compared with."""
        candidate = _resampled(self.result, arm, requirement.metric)
        if against is None:
            return candidate, None
        return candidate, _resampled(*self._place(against), requirement.metric)

    def pair(self, arm: str, against: str | None) -> Pair:
        """Return the answers of an arm and of what it is compared with."""
        candidate = self.result.arm(arm)
        if against is None:
            return Pair(candidate.resamples.item_ids, candidate.items, candidate.items)
        result, reference = self._place(against)
        return Pair(candidate.resamples.item_ids, candidate.items, result.arm(reference).items)

    @property
    def resamples(self) -> Resamples:
        """Resamples that all arms share."""
        return self.result.arm("raw_candidate").resamples

    def snapshot(self, suite: str, metrics: Iterable[str]) -> Baseline:
        """Return what would be accepted as a baseline today."""
        return snapshot(self.measured, suite=suite, profile=self.bench.profile.name, metrics=metrics)

    def _place(self, against: str) -> tuple[TransferResult, str]:
        """Return where to find an arm, or the transferred arm of another calibrator."""
        if against in ARMS:
            return self.result, against
        other = self.bench.transfer(replace(self.cell, calibrator=against), seed=self.seeds[0])
        return other.result, "transferred"

    @property
    def _memory(self) -> Memory:
        return Memory(self.bench.store)

    @cached_property
    def _about(self) -> dict[str, Any] | None:
        return about(self.bench, self.cell, self.seeds)


def check_arm(name: str) -> str:
    """Return the name of an arm, or refuse another."""
    if name not in ARMS:
        raise InputError(unknown("arm", name, ARMS))
    return name


def _resampled(result: TransferResult, arm: str, metric: Metric) -> Resampled:
    found = result.arm(arm)
    if metric.id in found.metrics:
        return found.measured[metric.id]
    return resample([metric], found.items, found.resamples)[metric.id]


def _is_own(metric: Metric) -> bool:
    return metric.function.__module__.startswith("calbench.metrics.")


def _part(known: dict[str, Any] | None, **part: Any) -> dict[str, Any] | None:
    return None if known is None else {**known, "part": part}
