"""Results as plain JSON: every number with its interval, its n and the records it was computed from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import calbench
from calbench import tasks
from calbench.cache import replacing
from calbench.calibrators import FittedCalibrator
from calbench.errors import InputError
from calbench.escaping import plain_json
from calbench.gates import GATE_METRIC, MARGIN, TRANSFER_ARMS, Arm, Comparison, Gate
from calbench.metrics import get as get_metric
from calbench.report._diagrams import confidence_pairs, packed_resamples, reliability
from calbench.report._format import (
    AccuracyTest,
    Difference,
    EstimateRow,
    Estimates,
    Ranked,
    Resamples,
    Results,
    Row,
    SeedValues,
    Settings,
)
from calbench.report._ranks import METRIC as RANKED_BY
from calbench.report._ranks import ranked
from calbench.runs import Measured, quantizer_order
from calbench.statistics import Change, Estimate, mcnemar

SCHEMA = 3
DIFFERENCES: tuple[Difference, ...] = ("degradation", "regret", "benefit")  # the contrasts of a transfer


def row_of(measured: Sequence[Measured]) -> Row:
    """Return one cell as plain JSON.

    Parameters
    ----------
    measured
        The cell's result for each seed; gates and intervals are those of the first.
    """
    first = measured[0]
    compared, cell = first.comparison, first.cell
    report = first.candidate.provenance["quantization"]
    return {
        "cell": cell.id,
        "model": cell.model,
        "task": cell.task,
        "group": tasks.group_of(cell.task),
        "quantizer": cell.quantizer,
        "calibrator": cell.calibrator,
        "seed": first.seed,
        "n_calibration": compared.n_calibration,
        "n_test": compared.n_test,
        "level": compared.level,
        "records": {"reference": first.reference.key, "candidate": first.candidate.key},
        "epsilons": list(first.epsilons),
        "reference": first.reference.provenance["baseline"],
        "quantization": {
            "effective_bits": report.get("effective_bits"),
            "model_effective_bits": report.get("model_effective_bits"),
            "resident_bytes": report.get("resident_bytes"),
        },
        "arms": {
            arm: {m: _plain(compared.estimate(m, arm=arm)) for m in compared.metrics} for arm in TRANSFER_ARMS
        },
        "degradation": _contrasts(compared, "degradation"),
        "regret": _contrasts(compared, "regret"),
        "benefit": _contrasts(compared, "benefit"),
        "relative_degradation": _ratios(compared),
        "accuracy_test": _mcnemar(compared, "raw_candidate", "transferred"),
        "quantization_accuracy_test": _mcnemar(compared, "raw_reference", "raw_candidate"),
        "other_seeds": {str(m.seed): _values(m.comparison) for m in measured[1:]},
        "fitted": _saved(compared.arm("transferred").fitted),
        "reliability": reliability(compared),
        "confidence_pairs": confidence_pairs(compared),
        "ranked": _ranked(first.ranked()),
        "warnings": list(first.warnings),
        "gates": [],
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


def verdict(gates: Iterable[Gate]) -> str:
    """Return the worst outcome of gates, or ``""`` if there are none."""
    outcomes = {gate["outcome"] for gate in gates}
    return next((o for o in ("fail", "inconclusive", "pass") if o in outcomes), "")


def hurts(row: Row) -> str:
    """Return ``"yes"`` if the transferred calibrator is shown to raise ECE above that of none.

    ``"maybe"`` if it does so on these items by more than the margin, its interval holding 0; ``""`` where it
    does not, or by so little that it is noise.
    """
    benefit = row["benefit"]["ece"]
    if not benefit["value"] < 0:
        return ""
    if benefit["interval"][1] < 0:
        return "yes"
    margins = [
        gate["margin"]
        for gate in row["gates"]
        if gate["metric"] in ("ece", GATE_METRIC) and gate["limit"] == "max_increase"
    ]
    return "maybe" if -benefit["value"] > max([MARGIN, *margins]) else ""


class Describes(Protocol):
    """Knows how the records of a run were made."""

    def describe(self, key: str) -> Mapping[str, Any]:
        """Return the identity and provenance of a record."""
        ...


def document(rows: Sequence[Row], *, settings: Settings, store: Describes) -> Results:
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
    keys = sorted({key for row in rows for key in _record_keys(row)})
    described = {key: store.describe(key) for key in keys}
    pairs = {pair_key(row): row["confidence_pairs"] for row in rows if "confidence_pairs" in row}
    cells = [row.copy() for row in rows]
    for cell in cells:
        cell.pop("confidence_pairs", None)
    return {
        "schema": SCHEMA,
        "calbench": calbench.__version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": settings,
        "metrics": {
            name: get_metric(name).fingerprint for row in rows for name in row["arms"]["raw_reference"]
        },
        "cells": cells,
        "confidence_pairs": pairs,
        "records": {
            k: {"identity": d["identity"], "provenance": d["provenance"]} for k, d in described.items()
        },
    }


def _record_keys(row: Row) -> Iterator[str]:
    yield row["records"]["reference"]
    yield row["records"]["candidate"]
    for gate in row["gates"]:
        for look in gate["looks"]:
            yield from chain.from_iterable(look.get("records", ()))


def pair_key(row: Row) -> str:
    """Under which key a document keeps how confidences moved: all calibrators of a cell share it."""
    return f"{row['records']['reference'][:16]}-{row['records']['candidate'][:16]}"


def write_json(contents: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Write a document, in one step; JSON has no infinity, so it is written as ``"inf"``."""
    text = json.dumps(plain_json(contents), indent=1, sort_keys=True, allow_nan=False)
    with replacing(Path(path)) as temporary:
        temporary.write_text(text + "\n")


def _place(row: Row) -> tuple[Any, ...]:
    own = row["records"]["reference"] == row["records"]["candidate"]
    return row["model"], row["task"], not own, quantizer_order(row["quantizer"]), row["calibrator"]


def _contrasts(compared: Comparison, name: Difference) -> Estimates:
    return {metric: _plain(compared.contrast(name, metric)) for metric in compared.metrics}


def _plain(estimate: Estimate | Change) -> EstimateRow:
    return {"value": estimate.value, "interval": list(estimate.interval)}


def _ratios(compared: Comparison) -> Estimates:
    """Return the relative degradation: its interval is that of the ratio; one without bounds is left out."""
    ratios = {}
    for name in compared.metrics:
        reference = compared.arm("calibrated_reference").resampled(name)
        if reference.value <= 0 or (reference.values <= 0).any():
            continue  # a share of nothing, or of a signed quantity, means nothing
        change = compared.difference(name, relative=True)
        if math.isfinite(change.interval[1]):
            ratios[name] = _plain(change)
    return ratios


def _mcnemar(compared: Comparison, reference: str, candidate: str) -> AccuracyTest:
    found = mcnemar(*(compared.arm(name).outcomes.correct for name in (candidate, reference)))
    return AccuracyTest(only_a=found.only_a, only_b=found.only_b, p_value=found.p_value, exact=found.exact)


def _ranked(arm: Arm) -> Ranked:
    """Return what a calibrator is ranked by, which travels between processes."""
    more = {name: _resamples(arm, name) for name in arm.metrics if name != RANKED_BY}
    return {**_resamples(arm, RANKED_BY), "more": more}


def _resamples(arm: Arm, metric: str) -> Resamples:
    found = arm.resampled(metric)
    return {"value": found.value, "n": found.n_items, "resamples": packed_resamples(found.values)}


def _saved(fitted: FittedCalibrator | None) -> dict[str, Any] | None:
    """Return the fit as JSON; None where a third party's fit does not offer that."""
    if fitted is None:
        return None
    try:
        return fitted.to_dict()
    except InputError:
        return None


def _values(compared: Comparison) -> SeedValues:
    values = compared.arm("transferred").values
    fitted_there = compared.arm("calibrated_reference").values
    return {
        "transferred": values,
        "degradation": {name: value - fitted_there[name] for name, value in values.items()},
    }
