"""Results as plain JSON: every number with its interval, its n and the records it was computed from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import calbench
from calbench.cache import replacing
from calbench.calibrators import FittedCalibrator
from calbench.errors import InputError
from calbench.escaping import plain_json
from calbench.gates import ARMS, TransferResult
from calbench.metrics import get as get_metric
from calbench.report._diagrams import confidence_pairs, packed_resamples, reliability
from calbench.report._ranks import ranked
from calbench.runs import Measured, quantizer_order
from calbench.statistics import Estimate, GateDecision

SCHEMA = 2
DIFFERENCES = ("degradation", "regret", "benefit")
Row = dict[str, Any]


def row_of(measured: Sequence[Measured]) -> Row:
    """Return one cell as plain JSON.

    Parameters
    ----------
    measured
        The cell's result for each seed; gates and intervals are those of the first.
    """
    first = measured[0]
    result, cell = first.result, first.cell
    report = first.candidate.provenance["quantization"]
    return {
        "cell": cell.id,
        "model": cell.model,
        "task": cell.task,
        "quantizer": cell.quantizer,
        "calibrator": cell.calibrator,
        "seed": first.seed,
        "n_calibration": result.n_calibration,
        "n_test": result.n_test,
        "level": result.level,
        "records": {"reference": first.reference.key, "candidate": first.candidate.key},
        "baseline": first.reference.provenance["baseline"],
        "quantization": {
            name: report.get(name) for name in ("effective_bits", "model_effective_bits", "resident_bytes")
        },
        "arms": {arm: _estimates(result.estimates(arm)) for arm in ARMS},
        **{name: _estimates(getattr(result, name)) for name in (*DIFFERENCES, "relative_degradation")},
        "accuracy_test": asdict(result.accuracy_test),
        "quantization_accuracy_test": asdict(result.quantization_accuracy_test),
        "other_seeds": {str(m.seed): _values(m.result) for m in measured[1:]},
        "fitted": _saved(result.fitted),
        "reliability": reliability(result),
        "confidence_pairs": confidence_pairs(result),
        "resamples": packed_resamples(result.measured("transferred", "ece").values),
        "warnings": list(first.warnings),
        "gates": [],
    }


def gate_of(decision: GateDecision, *, test: str, candidate: str, reference: str) -> dict[str, Any]:
    """Return a gate's decision as plain JSON, with the test and the arms it compared."""
    return {
        **asdict(decision),
        "interval": list(decision.interval),
        "test": test,
        "candidate": candidate,
        "reference": reference,
        "accepted": None,
    }


def merge(rows: Iterable[Row]) -> list[Row]:
    """Return one row per cell, with the gates of all tests that used it, in a stable order."""
    merged: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = (row["model"], row["task"], row["quantizer"], row["calibrator"])
        if key in merged:
            merged[key] = {**merged[key], "gates": merged[key]["gates"] + row["gates"]}
        else:
            merged[key] = row
    for row in merged.values():
        row["gates"] = sorted(row["gates"], key=lambda gate: (gate["test"], gate["metric"]))
    return ranked(sorted(merged.values(), key=_place))


def verdict(row: Row) -> str:
    """Return the worst outcome of a row's gates, or ``""`` if nothing was asked of it."""
    outcomes = {gate["outcome"] for gate in row["gates"]}
    return next((o for o in ("fail", "inconclusive", "pass") if o in outcomes), "")


def hurts(row: Row) -> str:
    """Return ``"yes"`` if the transferred calibrator is shown to raise ECE above that of none.

    ``"maybe"`` if it does so on these items, its interval holding 0; ``""`` if it does not.
    """
    benefit = row["benefit"]["ece"]
    if not benefit["value"] < 0:
        return ""
    return "yes" if benefit["interval"][1] < 0 else "maybe"


class Describes(Protocol):
    """Knows how the records of a run were made."""

    def describe(self, key: str) -> Mapping[str, Any]:
        """Return the identity and provenance of a record."""
        ...


def document(rows: Sequence[Row], *, settings: Mapping[str, Any], store: Describes) -> dict[str, Any]:
    """Return everything needed to trace any number in ``rows``.

    Parameters
    ----------
    rows
        As :func:`merge` returns them.
    settings
        Of the run.
    store
        Where the records are, such as a :class:`calbench.store.Store`.
    """
    keys = sorted({key for row in rows for key in row["records"].values()})
    pairs = {pair_key(row): row["confidence_pairs"] for row in rows if "confidence_pairs" in row}
    cells = [{name: value for name, value in row.items() if name != "confidence_pairs"} for row in rows]
    return {
        "schema": SCHEMA,
        "calbench": calbench.__version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "metrics": {
            name: get_metric(name).fingerprint for row in rows for name in row["arms"]["raw_reference"]
        },
        "cells": cells,
        "confidence_pairs": pairs,
        "records": {key: store.describe(key) for key in keys},
    }


def pair_key(row: Row) -> str:
    """Under which key a document keeps how confidences moved: all calibrators of a cell share it."""
    return f"{row['records']['reference'][:16]}-{row['records']['candidate'][:16]}"


def write_json(contents: Mapping[str, Any], path: Path) -> None:
    """Write a document, in one step; JSON has no infinity, so it is written as ``"inf"``."""
    text = json.dumps(plain_json(contents), indent=1, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n")


def _place(row: Row) -> tuple[Any, ...]:
    own = row["records"]["reference"] == row["records"]["candidate"]
    return row["model"], row["task"], not own, quantizer_order(row["quantizer"]), row["calibrator"]


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: {"value": e.value, "interval": list(e.interval)} for name, e in estimates.items()}


def _saved(fitted: FittedCalibrator) -> dict[str, Any] | None:
    """Return the fit as JSON; None where a third party's fit does not offer that."""
    try:
        return fitted.to_dict()
    except InputError:
        return None


def _values(result: TransferResult) -> dict[str, dict[str, float]]:
    values = result.arm("transferred").values
    fitted_there = result.arm("calibrated_reference").values
    return {
        "transferred": values,
        "degradation": {name: value - fitted_there[name] for name, value in values.items()},
    }
