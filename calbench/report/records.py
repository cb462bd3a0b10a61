"""Cells of a leaderboard out of records that were made elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from calbench.calibrators import get as get_calibrator
from calbench.errors import CalbenchError, InputError
from calbench.experiments import Cell, Measured, transfer
from calbench.experiments.top_label_sides import ConfidenceCalibrator
from calbench.interchange import pair
from calbench.predictions import Predictions, TopLabelPredictions
from calbench.record_files import digest
from calbench.report.results import Row, gate_of, merge, row_of
from calbench.store import Record

AnyRecord = Predictions | TopLabelPredictions
REFERENCES = ("fp32", "bf16", "fp16")
_VECTOR_METRICS = ("ece", "nll", "brier", "accuracy")
_TOP_LABEL_METRICS = ("ece", "brier_toplabel", "accuracy")


@dataclass(frozen=True)
class ImportedCells:
    """Rows for a report, and what is known about the records behind them.

    Attributes
    ----------
    rows
        One a cell.
    notes
        What was left out and why.
    """

    rows: list[Row]
    notes: tuple[str, ...]
    _described: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def describe(self, key: str) -> Mapping[str, Any]:
        """Return the identity and provenance of a record."""
        return self._described[key]


def cells_of_records(
    records: Mapping[str, AnyRecord],
    *,
    calibrators: Sequence[str] = ("identity", "temperature"),
    reference: str | None = None,
    margin: float = 0.02,
    seed: int = 0,
    n_resamples: int = 2000,
) -> ImportedCells:
    """Run the transfer experiment between records of the same model and task.

    Parameters
    ----------
    records
        By a name for messages, such as a path; their metadata say ``model``, ``task`` and
        ``quantizer``.
    calibrators
        Ids; those that need class vectors are left out for records of the top answer only.
    reference
        The quantizer that calibrators are fitted on; by default fp32, bf16 or fp16.
    margin
        How much ECE may rise: a gate of every cell.
    seed
        Of the division of the items and of the resamples.
    n_resamples
        Of the bootstrap.

    Raises
    ------
    InputError
        A record does not say what it is of, two are of one cell, or a group has no reference.
    """
    rows: list[Row] = []
    notes: list[str] = []
    described: dict[str, Mapping[str, Any]] = {}
    for (model, task), members in _grouped(records).items():
        base = _reference(members, reference, f"{model} on {task}")
        stored = {name: _stored(record, base) for name, record in members.items()}
        described |= {r.key: {"identity": r.identity, "provenance": r.provenance} for r in stored.values()}
        for quantizer, calibrator in product(members, calibrators):
            cell = Cell(model, task, quantizer, calibrator)
            if not _applicable(calibrator, members[quantizer], members[base]):
                notes.append(f"{cell.id}: {calibrator} needs class vectors; left out")
                continue
            measured = _measure(cell, stored[base], stored[quantizer], seed, n_resamples)
            rows.append(_gated(measured, margin) if quantizer != base else row_of([measured]))
    return ImportedCells(merge(rows), tuple(notes), described)


def _gated(measured: Measured, margin: float) -> Row:
    decision = measured.result.decide("ece", margin=margin)
    test = f"{measured.cell.id}: ECE rises by at most {margin:g}"
    arms = {"candidate": "transferred", "reference": "calibrated_reference"}
    return {**row_of([measured]), "gates": [gate_of(decision, test=test, **arms)]}


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
        " name the full-precision one with --reference"
    )


def _applicable(calibrator: str, *records: AnyRecord) -> bool:
    if all(isinstance(record, Predictions) for record in records):
        return True
    return isinstance(get_calibrator(calibrator), ConfidenceCalibrator)


def _stored(record: AnyRecord, base: str) -> Record:
    facts = {name: value for name, value in record.metadata.items() if name != "origin"}
    size = {name: _number(record.metadata.get(name)) for name in ("effective_bits", "resident_bytes")}
    return Record(
        digest(record),
        record,  # type: ignore[arg-type]  # a record of the top answer is one here as well
        {"items": record.items_hash, "origin": record.metadata.get("origin")},
        {"baseline": f"{base}, imported", "quantization": size, "metadata": facts},
    )


def _measure(cell: Cell, reference: Record, candidate: Record, seed: int, n_resamples: int) -> Measured:
    both = pair(reference.predictions, candidate.predictions)
    vectors = isinstance(both.reference, Predictions)
    try:
        result = transfer(
            both.reference,
            both.candidate,
            cell.calibrator,
            metrics=_VECTOR_METRICS if vectors else _TOP_LABEL_METRICS,
            n_resamples=n_resamples,
            rng=np.random.default_rng(seed),
        )
    except CalbenchError as error:
        raise InputError(f"{cell.id}: {error}") from error
    return Measured(cell, seed, result, reference, candidate)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
