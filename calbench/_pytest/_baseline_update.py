"""Baselines in a pytest run: what was accepted, what would be, and what is stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calbench import baselines
from calbench.baselines import Baseline, cell_id_of
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
        path = baselines.path_of(self.folder, self.suite, cell.id)
        try:
            found = baselines.read(path)
            baselines.check_comparable(found, today, metric=metric)
        except BaselineRefusedError as error:
            shown = str(error)
            named = shown if str(path.parent) in shown else f"{path}: {shown}"
            raise BaselineRefusedError(f"{named}; to accept today's result, add {UPDATE}") from None
        return found

    def offered(self, today: Baseline) -> dict[str, Any]:
        """Return today's result as it rides on a report, to be accepted at the end of the run."""
        return baselines.payload_of(today)


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
