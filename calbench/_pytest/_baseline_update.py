"""Baselines in a pytest run: what was accepted, what would be, and what is stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calbench import baselines
from calbench.baselines import Baseline, cell_name_of
from calbench.errors import BaselineRefusedError
from calbench.runs import Cell

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

    def accepted(self, cell: Cell, today: Baseline, metric: str) -> Baseline:
        """Return what was accepted of a cell.

        Raises
        ------
        BaselineRefusedError
            There is nothing to compare a metric of today's result with.
        """
        assert self.folder is not None  # noqa: S101 (asked before)
        path = baselines.path_of(self.folder, self.suite)
        try:
            found = baselines.read(path, cell.name)
            baselines.check_comparable(found, today, metric=metric)
        except BaselineRefusedError as error:
            shown = str(error)
            named = shown if str(path.parent) in shown else f"{path}::{cell.name}: {shown}"
            raise BaselineRefusedError(f"{named}; to accept today's result, add {UPDATE}") from None
        return found

    def offered(self, today: Baseline) -> dict[str, Any]:
        """Return today's result as it rides on a report, to be accepted at the end of the run."""
        return baselines.payload_of(today)


def update(
    folder: Path, payloads: Iterable[Mapping[str, Any]], stale: Mapping[str, Iterable[str]]
) -> tuple[int, int]:
    """Write what the tests offered, without stale cells; returns how many changed, and of how many."""
    suites: dict[str, dict[str, Baseline]] = {}
    for payload in payloads:
        offered = baselines.from_payload(payload)
        merged, name = suites.setdefault(offered.suite, {}), cell_name_of(offered)
        if name in merged:  # two tests of a suite may keep different metrics of one cell
            offered = replace(offered, metrics={**merged[name].metrics, **offered.metrics})
        merged[name] = offered
    changed = sum(
        baselines.write(folder, merged.values(), gone=stale.get(suite, ()))
        for suite, merged in suites.items()
    )
    return changed, sum(map(len, suites.values()))
