"""Cells whose records came from elsewhere: measured like any other, and no model is ever loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from calbench import calibrators
from calbench.errors import CalbenchError, InputError, UnknownNameError
from calbench.gates import SEED, Arm, Comparison, takes_confidences, transfer
from calbench.interchange import is_samples, pair, read
from calbench.records import SUFFIXES, AnyRecord, Predictions, digest
from calbench.runs._cells import Cell, Grid, Profile, Selection
from calbench.runs._declarations import REFERENCE
from calbench.runs._measured import Measured
from calbench.selection import Patterns
from calbench.store import Store, StoredPredictions

REFERENCES = (REFERENCE, "bf16", "fp16")
ALL_ITEMS = Profile("records")
_ANY_FITTED = "histogram"  # what is fitted decides which items are left to be scored


@dataclass(frozen=True, eq=False)
class ImportedRunner:
    """Gives the result of any cell of a set of records.

    Attributes
    ----------
    records
        By model, task and quantizer.
    references
        The full-precision quantizer of each model and task.
    n_resamples, level, bootstrap_seed
        Of the bootstrap; without a seed that of the division is taken.
    store
        Where results may be remembered; records are not kept there.
    profile
        Its name; all items of a record are used.
    """

    records: Mapping[tuple[str, str, str], StoredPredictions]
    references: Mapping[tuple[str, str], str]
    n_resamples: int = 2000
    level: float = 0.95
    bootstrap_seed: int | None = None
    store: Store = field(default_factory=lambda: Store(Path()))
    profile: Profile = ALL_ITEMS

    @classmethod
    def of(
        cls, records: Mapping[str, AnyRecord], *, reference: str | None = None, **options: Any
    ) -> ImportedRunner:
        """Place records, by a name for messages, by what their metadata say that they are of.

        Parameters
        ----------
        records
            Their metadata say ``model``, ``task`` and ``quantizer``.
        reference
            The full-precision quantizer; by default fp32, bf16 or fp16.
        options
            Other attributes.

        Raises
        ------
        InputError
            A record does not say what it is of, two are of one cell, or a group has no reference.
        """
        groups = _grouped(records)
        bases = {key: _reference(members, reference, " on ".join(key)) for key, members in groups.items()}
        placed = {
            (*key, quantizer): _stored(record, bases[key])
            for key, members in groups.items()
            for quantizer, record in members.items()
        }
        return cls(placed, bases, **options)

    def cells(self, grid: Grid, command_line: Selection) -> list[Cell]:
        """Return the cells that a grid picks and the command line leaves.

        In a grid ``fp32`` stands for the full-precision record, whatever its quantizer is called.
        Calibrators that cannot be fitted are left out.

        Raises
        ------
        UnknownNameError
            No record is of a model, task or quantizer that is named.
        """
        self._check_names(grid.wanted)
        self._check_names(command_line)
        chosen = Grid(Selection(calibrators=grid.wanted.calibrators)).calibrators(command_line)
        return [
            Cell(model, task, quantizer, calibrator)
            for model, task, quantizer in self.records
            if self._wanted(grid.wanted, model, task, quantizer)
            and self._wanted(command_line, model, task, quantizer)
            for calibrator in chosen
            if self.can_fit(calibrator, model, task, quantizer)
        ]

    def can_fit(self, calibrator: str, model: str, task: str, quantizer: str) -> bool:
        """Whether the records hold what a calibrator needs: of the top answer alone, few can be fitted."""
        names = quantizer, self.references[model, task]
        if all(isinstance(self.records[model, task, n].predictions, Predictions) for n in names):
            return True
        return takes_confidences(calibrator)

    def missing(self, cell: Cell) -> str | None:
        """Return what no record says and a cell's calibrator must know, and where it can be given."""
        if not calibrators.get(cell.calibrator).needs_epsilon:
            return None
        return (
            f"{cell.calibrator} needs the unit error of each precision, which records do not say;"
            " calbench.transfer takes it as reference_epsilon= and candidate_epsilon="
        )

    def transfer(self, cell: Cell, *, seed: int = SEED, folds: int = 1) -> Measured:
        """Compare a cell with its full-precision record on one division of the items they share."""
        base = self.references[cell.model, cell.task]
        reference, candidate = (self.records[cell.model, cell.task, q] for q in (base, cell.quantizer))
        both = pair(reference.predictions, candidate.predictions)
        if (missing := self.missing(cell)) is not None:
            raise InputError(f"{cell.id}: {missing}")

        def compared(calibrator: str) -> Comparison:
            return transfer(
                both.reference,
                both.candidate,
                calibrator,
                n_resamples=self.n_resamples,
                level=self.level,
                seed=seed,
                bootstrap_seed=self.bootstrap_seed,
                folds=folds,
            )

        try:
            comparison = compared(cell.calibrator)
        except CalbenchError as error:
            raise InputError(f"{cell.id}: {error}") from error

        def ranked() -> Arm:
            fitted = comparison if comparison.n_calibration else compared(_ANY_FITTED)
            return fitted.arm("transferred" if comparison.n_calibration else "raw_candidate")

        return Measured(cell, seed, comparison, reference, candidate, ranked)

    def describe(self, key: str) -> Mapping[str, Any]:
        """Return the identity and provenance of a record."""
        found = next(record for record in self.records.values() if record.key == key)
        return {"identity": found.identity, "provenance": found.provenance}

    def _check_names(self, selection: Selection) -> None:
        for place, axis in enumerate(("models", "tasks", "quantizers")):
            known = list(dict.fromkeys(key[place] for key in self.records))
            names = {*known, REFERENCE} if axis == "quantizers" else set(known)
            for pattern in getattr(selection, axis) or ():
                if not pattern.startswith("not ") and not _matches((pattern,), names):
                    kind = axis.removesuffix("s")
                    raise UnknownNameError(
                        f"no record is of the {kind} {pattern!r}; there are {', '.join(known)}"
                    )

    def _wanted(self, selection: Selection, model: str, task: str, quantizer: str) -> bool:
        named = {quantizer}
        if quantizer == self.references[model, task]:
            named.add(REFERENCE)
        return (
            _matches(selection.models, {model})
            and _matches(selection.tasks, {task})
            and _matches(selection.quantizers, named)
        )


def read_records(paths: Iterable[str | PathLike[str]], **options: Any) -> dict[str, AnyRecord]:
    """Read records from files and from folders of them; a folder of lm-eval logs is one record.

    ``options`` are those of :func:`calbench.interchange.read`.
    """
    return {str(path): read(path, **options) for path in _files(map(Path, paths))}


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or is_samples(path):
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not inside:
            raise InputError(f"{path}: holds no record ({', '.join(SUFFIXES)})")
        found += inside
    return found


def _matches(patterns: tuple[str, ...] | None, names: set[str]) -> bool:
    return patterns is None or Patterns.read(patterns).picks(*names)


def _grouped(records: Mapping[str, AnyRecord]) -> dict[tuple[str, str], dict[str, AnyRecord]]:
    groups: dict[tuple[str, str], dict[str, AnyRecord]] = {}
    for name, record in records.items():
        known = [str(record.metadata.get(part) or "") for part in ("model", "task", "quantizer")]
        missing = [p for p, value in zip(("model", "task", "quantizer"), known, strict=True) if not value]
        if missing:
            raise InputError(
                f"{name}: does not say its {' and '.join(missing)}; import it with"
                f" {' '.join(f'--{part} NAME' for part in missing)}"
            )
        model, task, quantizer = known
        group = groups.setdefault((model, task), {})
        if quantizer in group:
            raise InputError(f"{name}: a second record of {model} on {task} at {quantizer}; pass one of them")
        group[quantizer] = record
    return groups


def _reference(members: Mapping[str, AnyRecord], wanted: str | None, where: str) -> str:
    for name in [wanted] if wanted else REFERENCES:
        if name in members:
            return name
    raise InputError(
        f"{where}: there is no record at {wanted or 'fp32, bf16 or fp16'} (there are {', '.join(members)});"
        " import the full-precision one with quantizer='fp32', or name it with reference="
    )


def _stored(record: AnyRecord, base: str) -> StoredPredictions:
    facts = {
        name: value
        for name, value in record.metadata.items()
        if name not in ("origin", "answers", "item_hashes")
    }
    size = {name: _number(record.metadata.get(name)) for name in ("effective_bits", "resident_bytes")}
    return StoredPredictions(
        digest(record),
        record,
        {"items": record.items_hash, "origin": record.metadata.get("origin")},
        {"baseline": f"{base}, imported", "quantization": size, "metadata": facts},
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
