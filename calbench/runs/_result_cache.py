"""What was computed once from stored records is read back, until anything that matters changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import calbench
from calbench import calibrators, tasks
from calbench.calibrators import is_built_in
from calbench.registry import Spec
from calbench.runs._builds import epsilon_of
from calbench.runs._cells import Cell
from calbench.runs._imported import ImportedRunner
from calbench.runs._runner import Runner, Span
from calbench.store import Store

# All code that turns stored predictions into results.
_CODE = (
    "baselines",
    "calibrators",
    "gates",
    "metrics",
    "records",
    "report",
    "runs",
    "statistics",
    "tasks/_items.py",  # divides items into splits
)
_PACKAGES = ("numpy", "scipy")


@dataclass(frozen=True)
class ResultCache:
    """Plain JSON that follows from a cell's records, kept in the store.

    What is kept is looked up by the records' keys, every setting, and a hash over calbench's own
    code, so that it can be read back only where computing it again would give the same. A
    calibrator that is not calbench's own is never remembered: nothing tells when its code changes.
    """

    store: Store

    def recall(self, about: Mapping[str, Any] | None, make: Callable[[], Any]) -> Any:
        """Return plain JSON: what ``make`` returned when it was first asked about this.

        With ``about=None`` nothing is remembered.
        """
        if about is None:
            return json.loads(json.dumps(make()))
        # Kept as text: JSON proper has no infinity, which an interval may have.
        identity = {**about, "code": code_hash()}
        return json.loads(self.store.remember(identity, lambda: json.dumps(make())))


def about(
    runner: Runner | ImportedRunner,
    cell: Cell,
    seeds: Sequence[int],
    spans: tuple[Span, ...] = (),
    folds: int = 1,
) -> dict[str, Any] | None:
    """Return all that a cell's results depend on besides calbench's code; None where nothing is kept.

    That is for foreign code, and for imported records, which are quick to measure.

    Raises
    ------
    CalbenchError
        A record is missing and cannot be made.
    """
    if isinstance(runner, ImportedRunner) or not _is_own(cell.calibrator):
        return None
    source = runner.source(cell.model).model
    names = (source.reference, cell.quantizer)
    return {
        **({"parts": runner.keys(cell, spans)} if spans else {}),
        **({"folds": folds} if folds > 1 else {}),
        "cell": [cell.model, cell.task, cell.quantizer, cell.calibrator],
        "records": [runner.record(cell.model, name, cell.task).key for name in names],
        "group": tasks.group_of(cell.task),
        "items": runner.record(cell.model, source.reference, cell.task).described_by,
        "epsilon": [epsilon_of(source, name) for name in names],
        "profile": runner.profile.name,
        "seeds": list(seeds),
        "bootstrap_seed": runner.bootstrap_seed,
        "n_resamples": runner.n_resamples,
        "level": runner.level,
    }


@cache
def code_hash() -> str:
    """SHA-256 over the code that turns predictions into results, and the versions of its packages."""
    root = Path(calbench.__file__).parent
    digest = hashlib.sha256()
    for name in _CODE:
        place = root / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    for package in _PACKAGES:
        digest.update(f"{package} {metadata.version(package)}".encode())
    return digest.hexdigest()


def _is_own(calibrator: str) -> bool:
    return is_built_in(calibrators.registry.get(Spec.parse(calibrator).name))
