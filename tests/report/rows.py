"""Rows and documents as the runner makes them, without running anything."""

from __future__ import annotations

import copy

from calbench.gates import TRANSFER_ARMS
from calbench.report._results import SCHEMA

SETTINGS = {"seeds": [42], "n_resamples": 2000, "level": 0.95}
KEYS = {"fp32": "a" * 64, "bnb-nf4": "b" * 64, "bnb-int8": "d" * 64, "gptq-int4": "e" * 64}


def estimate(value, low=None, high=None):
    return {
        "value": value,
        "interval": [value - 0.01 if low is None else low, value + 0.01 if high is None else high],
    }


def row(quantizer="bnb-nf4", calibrator="temperature", outcome="pass", benefit=0.02, **changes):
    arm = {"ece": estimate(0.05), "nll": estimate(0.4), "brier": estimate(0.2), "accuracy": estimate(0.8)}
    gate = {
        "outcome": outcome,
        "level": 0.95,
        "interval_level": 0.95,
        "relative": False,
        "looks": [],
        "p_value": None,
        "why": "",
        "n_calibration": 400,
        "stopped": "",
        "candidate_value": 0.05,
        "reference_value": 0.047,
        "explanation": None,
        "test": "t.py::a",
        "metric": "ece",
        "accepted": None,
        "delta": 0.003,
        "interval": [-0.007, 0.013],
        "margin": 0.02,
        "limit": "max_increase",
        "candidate": "transferred",
        "reference": "calibrated_reference",
        "n": 1234,
        "items_needed": None,
    }
    return {
        "model": "m",
        "task": "t",
        "quantizer": quantizer,
        "calibrator": calibrator,
        "cell": f"m-t-{quantizer}-{calibrator}",
        "records": {"reference": KEYS["fp32"], "candidate": KEYS.get(quantizer, "c" * 64)},
        "warnings": [],
        "seed": 42,
        "n_calibration": 400,
        "n_test": 1234,
        "level": 0.95,
        "reference": "fp32 weights",
        "quantization": {"effective_bits": 4.5, "model_effective_bits": 9.1, "resident_bytes": 2**20},
        "arms": {name: copy.deepcopy(arm) for name in TRANSFER_ARMS},
        "degradation": {"ece": estimate(0.003)},
        "regret": {"ece": estimate(0.001)},
        "benefit": {"ece": estimate(benefit)},
        "group": "",
        "epsilons": [None, None],
        "relative_degradation": {},
        "accuracy_test": {"only_a": 0, "only_b": 0, "p_value": 1.0, "exact": True},
        "quantization_accuracy_test": {"only_a": 0, "only_b": 0, "p_value": 1.0, "exact": True},
        "other_seeds": {},
        "fitted": None,
        "reliability": {},
        "gates": [gate] if outcome else [],
        **changes,
    }


def bins(n=100):
    """Return fifteen bins of which the last two hold items."""
    empty = [0] * 13, [None] * 13
    return {
        "counts": empty[0] + [n // 4, n - n // 4],
        "confidences": empty[1] + [0.9, 0.97],
        "accuracies": empty[1] + [0.8, 0.95],
    }


def document(rows, **changes):
    """Return a document of rows."""
    pairs = {
        f"{KEYS['fp32'][:16]}-{key[:16]}": {
            "n": 3,
            "n_flips": 1,
            "reference": [0.9, 0.6, 0.7],
            "candidate": [0.8, 0.55, 0.7],
            "flips": [0, 1, 0],
        }
        for key in KEYS.values()
    }
    cells = [{**row, "reliability": {arm: bins() for arm in TRANSFER_ARMS}} for row in rows]
    return {
        "schema": SCHEMA,
        "calbench": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "settings": SETTINGS,
        "metrics": {"ece": {"metric": "ece", "n_bins": 15}},
        "cells": cells,
        "confidence_pairs": pairs,
        "records": {key: {"identity": {"model": name}, "provenance": {}} for name, key in KEYS.items()},
        **changes,
    }


def evidence(records):
    """Return evidence of records, by their keys, without gates."""
    return {
        "format": 2,
        "calbench": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "settings": SETTINGS,
        "metrics": {},
        "results_sha256": "",
        "records": records,
        "gates": [],
        "without_records": [],
        "sha256": "",
    }
