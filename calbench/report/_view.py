"""A results document as the page needs it: short names, five digits, nothing that is not shown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from calbench.gates import TRANSFER_ARMS
from calbench.report._format import Bins, ConfidencePairs, Estimates, Ranking, Results, Row
from calbench.report._judged import Judged, judged
from calbench.report._leaderboard import is_reference
from calbench.report._results import DIFFERENCES, hurts, pair_key, verdict

_FIRST = ("ece", "nll", "brier", "brier_toplabel", "accuracy")
_MAX_FIT_CHARACTERS = 800
_MAX_POINTS = 40_000  # of all scatter plots together


def page_data(document: Results) -> dict[str, Any]:
    """Return what the page shows.

    Numbers are rounded to five significant digits; ``results.json`` has them all.
    """
    cells = document["cells"]
    measured = {name for cell in cells for name in cell["arms"]["transferred"]}
    metrics = [name for name in _FIRST if name in measured] + sorted(measured - set(_FIRST))
    pairs = document["confidence_pairs"]
    share = max(20, _MAX_POINTS // max(len(pairs), 1))
    shared = Shared()
    return {
        "calbench": document["calbench"],
        "created": document["created"],
        "settings": document["settings"],
        "definitions": document["metrics"],
        "metrics": metrics,
        "arms": list(TRANSFER_ARMS),
        "differences": list(DIFFERENCES),
        "cells": [_cell(cell, metrics, shared) for cell in cells],
        "shared": shared.values,
        "rankings": {kind: _ranking(table) for kind, table in document.get("rankings", {}).items()},
        "pairs": {key: _points(pair, share) for key, pair in pairs.items()},
        "records": document["records"],
    }


def _ranking(table: Ranking) -> dict[str, Any]:
    """Return a ranking without what only ``leaderboard.md`` and ``results.json`` hold."""
    left_out = ("over_tasks", "matrix")
    rows = {
        metric: [{name: _number(v) for name, v in row.items() if name not in left_out} for row in ranked]
        for metric, ranked in table["metrics"].items()
    }
    return {**table, "metrics": rows}


class Shared:
    """What many cells hold alike, kept once: the arms of a reference are those of all its candidates."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Return where a value stands, keeping it unless it is there."""
        place = self._places.setdefault(json.dumps(value), len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place


def _cell(row: Row, metrics: Sequence[str], shared: Shared) -> dict[str, Any]:
    fitted = row["fitted"]
    size = row["quantization"]
    place = row.get("rank")
    return {
        "id": row["cell"],
        "model": row["model"],
        "task": row["task"],
        "quantizer": row["quantizer"],
        "calibrator": row["calibrator"],
        "reference": is_reference(row),
        "n": row["n_test"],
        "nc": row["n_calibration"],
        "seed": row["seed"],
        "level": row["level"],
        "origin": row["reference"],
        "bits": _number(size["effective_bits"]),
        "mib": _number(size["resident_bytes"] / 2**20) if size["resident_bytes"] else None,
        "rank": [place["rank"], *place["interval"], place["of"]] if place else None,
        "verdict": verdict(row["gates"]),
        "failed": [each.figure() for each in judged([row]) if each.outcome == "fail"],
        "accepted": [gate["accepted"] for gate in row["gates"] if gate["accepted"]],
        "hurts": hurts(row),
        "arms": [shared.place(_estimates(row["arms"].get(arm, {}), metrics)) for arm in TRANSFER_ARMS],
        "differences": [_estimates(row[name], metrics) for name in DIFFERENCES],
        "bins": [shared.place(_bins(row["reliability"].get(arm))) for arm in TRANSFER_ARMS],
        "pair": pair_key(row),
        "gates": [_gate(each) for each in judged([row])],
        "warnings": row["warnings"],
        "fitted": fitted if len(json.dumps(fitted)) <= _MAX_FIT_CHARACTERS else None,
        "records": [row["records"]["reference"], row["records"]["candidate"]],
        "other_seeds": {
            seed: [_number(value["transferred"].get("ece")), _number(value["degradation"].get("ece"))]
            for seed, value in row["other_seeds"].items()
        },
    }


def _estimates(estimates: Estimates, metrics: Sequence[str]) -> list[Any]:
    found = []
    for name in metrics:
        estimate = estimates.get(name)
        found.append([_number(v) for v in (estimate["value"], *estimate["interval"])] if estimate else None)
    return found


def _bins(bins: Bins | None) -> list[Any] | None:
    """Return [bin, count, mean confidence, accuracy] of each bin that is not empty."""
    if bins is None:
        return None
    rows = zip(bins["counts"], bins["confidences"], bins["accuracies"], strict=True)
    return [[i, n, _thousandths(c), _thousandths(a)] for i, (n, c, a) in enumerate(rows) if n]


def _thousandths(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _points(pair: ConfidencePairs, limit: int) -> dict[str, Any]:
    """Return [reference, candidate, flipped] of at most ``limit`` items, confidences in thousandths."""
    every = max(1, -(-len(pair["flips"]) // limit))
    triples = zip(pair["reference"][::every], pair["candidate"][::every], pair["flips"][::every], strict=True)
    points = [number for a, b, flip in triples for number in (round(a * 1000), round(b * 1000), flip)]
    return {"n": pair["n"], "flips": pair["n_flips"], "points": points}


def _gate(each: Judged) -> dict[str, Any]:
    gate = each.gate
    return {
        "outcome": gate["outcome"],
        "metric": gate["metric"],
        "margin": gate["margin"],
        "relative": gate["relative"],
        "items_needed": gate["items_needed"],
        "test": gate["test"],
        "accepted": gate["accepted"],
        "delta": _number(gate["delta"]),
        "interval": [_number(v) for v in gate["interval"]],
        "said": each.figure(),
        "remedy": each.remedy() if each.outcome == "inconclusive" else "",
    }


def _number(value: Any) -> Any:
    """Round a number; one that JSON cannot hold becomes text."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return float(f"{value:.5g}")
    return value
