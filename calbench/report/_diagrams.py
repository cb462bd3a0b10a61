"""What a reader looks at in one cell: reliability per bin, and how confidences moved item by item."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.gates import TRANSFER_ARMS, Comparison
from calbench.metrics import Outcomes, ReliabilityBins
from calbench.records import Float64
from calbench.report._format import Bins, ConfidencePairs

N_BINS = 15
MAX_POINTS = 300


def reliability(compared: Comparison) -> dict[str, Bins]:
    """Return, for each arm, the items, mean confidence and accuracy of each bin; null in empty ones."""
    return {arm: bins_of(compared.arm(arm).outcomes) for arm in TRANSFER_ARMS}


def bins_of(items: Outcomes) -> Bins:
    """Return a reliability diagram's numbers: 15 equal-width bins of top-1 confidence."""
    bins = ReliabilityBins.of(items.confidences, items.correct, n_bins=N_BINS)
    return {
        "counts": bins.weights.astype(int).tolist(),
        "confidences": _rounded(bins.mean_confidences),
        "accuracies": _rounded(bins.accuracies),
    }


def confidence_pairs(compared: Comparison) -> ConfidencePairs:
    """Return the raw confidences of both models on a sample of the test items, and where answers flip.

    At most 300 items, evenly spaced in the order of their ids, so that the sample has as many flips
    as the whole in proportion.
    """
    reference, candidate = (compared.arm(arm).outcomes for arm in ("raw_reference", "raw_candidate"))
    flips = flipped(reference, candidate)
    shown = np.unique(np.linspace(0, len(flips) - 1, min(len(flips), MAX_POINTS)).astype(int))
    return {
        "n": len(flips),
        "n_flips": int(flips.sum()),
        "reference": np.round(reference.confidences[shown], 4).tolist(),
        "candidate": np.round(candidate.confidences[shown], 4).tolist(),
        "flips": flips[shown].astype(int).tolist(),
    }


def flipped(reference: Outcomes, candidate: Outcomes) -> Any:
    """Return where the two give another answer; of the top answer only, where one is right alone."""
    if reference.has_class_vector and candidate.has_class_vector:
        return np.asarray(reference.predicted != candidate.predicted)
    return np.asarray(reference.correct != candidate.correct)


def packed_resamples(values: Float64) -> str:
    """Return resampled values as text, in single precision: they travel between processes to be ranked."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def unpacked_resamples(text: str) -> Float64:
    """Restore what :func:`packed_resamples` wrote."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float64)
    except ValueError as error:
        raise InputError(f"resamples cannot be read ({error})") from None


def _rounded(values: Float64) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
