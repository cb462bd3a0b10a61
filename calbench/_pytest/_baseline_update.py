"""Baselines in a pytest run: what was accepted, what would be, and what is stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calbench import baselines
from calbench._pytest._evidence import needed, whom
from calbench._pytest._log import TestLog
from calbench._pytest._measurement import MeasuredCell
from calbench.baselines import Baseline, cell_id_of, changed_versions
from calbench.errors import BaselineRefusedError
from calbench.gates import Pair, Requirement, figures, headline, what_moved
from calbench.metrics import Outcomes
from calbench.statistics import Change, GateDecision, Resampled, change, resample

UPDATE = "--calbench-update-baseline"


@dataclass(frozen=True)
class Baselines:
    """The folder that a run names, as one suite sees it.

    Attributes
    ----------
    folder
        Where baselines are; None if the run names none.
    suite
        Name of the test module.
    updating
        Whether today's results are to be accepted.
    """

    folder: Path | None
    suite: str
    updating: bool

    def evidence(self, cell: MeasuredCell, today: Baseline, wanted: Requirement) -> BaselineEvidence:
        """Return what was accepted beside today's result.

        Raises
        ------
        BaselineRefusedError
            There is nothing to compare with.
        """
        assert self.folder is not None  # noqa: S101 (asked before)
        path = baselines.path_of(self.folder, self.suite, cell.cell.id)
        try:
            accepted = baselines.read(path)
            baselines.check_comparable(accepted, today, metric=wanted.metric.id)
        except BaselineRefusedError as error:
            shown = str(error)
            named = shown if str(path.parent) in shown else f"{path}: {shown}"
            raise BaselineRefusedError(f"{named}; to accept today's result, add {UPDATE}") from None
        return BaselineEvidence(cell, accepted, today)

    def offer(self, log: TestLog, today: Baseline) -> None:
        """Leave today's result to be accepted at the end of the run."""
        log.baselines.append(baselines.payload_of(today))


@dataclass(frozen=True, eq=False)
class BaselineEvidence:
    """Today's answers beside those that were accepted, item by item."""

    cell: MeasuredCell
    accepted: Baseline
    today: Baseline
    candidate: str = "transferred"
    reference: str | None = "baseline"

    def change(self, requirement: Requirement) -> Change:
        """Return the numbers."""
        level = requirement.level or self.cell.bench.level
        return change(*self.resampled(requirement), relative=requirement.relative, level=level)

    def resampled(self, requirement: Requirement) -> tuple[Resampled, Resampled | None]:
        """Return the metric today and when it was accepted."""
        return self._measure(requirement, self.today.rows), self._measure(requirement, self.accepted.rows)

    def explain(self, requirement: Requirement, decision: GateDecision) -> str:
        """Say what happened since the baseline, and what to do."""
        measured = self.cell.measured
        pair = Pair(self.cell.resamples.item_ids, self.today.rows, self.accepted.rows)
        versions = changed_versions(self.accepted, self.today)
        lines = [
            headline(decision, requirement.keyword),
            whom(self.cell.cell),
            f"{figures(decision, 'today', 'baseline')}, seed {measured.seed}",
            *what_moved(pair),
            *needed(decision),
            f"since the baseline: {'; '.join(versions) or 'no version changed'}",
            f"records: baseline {self.accepted.records['candidate']}",
            f"         today    {measured.candidate.key}",
            f"to accept it, run the test again with {UPDATE}",
        ]
        return "\n  ".join(lines)

    def _measure(self, requirement: Requirement, items: Outcomes) -> Resampled:
        return resample([requirement.metric], items, self.cell.resamples)[requirement.metric.id]


def update(folder: Path, payloads: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Write what the tests offered; returns how many baselines changed, and of how many."""
    merged: dict[tuple[str, str], Baseline] = {}
    for payload in payloads:
        offered = baselines.from_payload(payload)
        key = (offered.suite, cell_id_of(offered))
        if key in merged:  # two tests of a suite may keep different metrics of one cell
            offered = replace(offered, metrics={**merged[key].metrics, **offered.metrics})
        merged[key] = offered
    changed = [
        baselines.write(folder, cell_id, found) for (_, cell_id), found in sorted(merged.items(), key=_key)
    ]
    return sum(changed), len(changed)


def _key(entry: tuple[tuple[str, str], Baseline]) -> tuple[str, str]:
    return entry[0]
