"""The Brier score's parts: how much is miscalibration, how much is not knowing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calbench.metrics._binning import EDGES, check_n_bins, uniform_bins
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._proper_scores import brier_score
from calbench.metrics._registration import formula
from calbench.metrics._weighted import SumStatistic, Term
from calbench.records import Float64


@dataclass(frozen=True)
class BrierDecomposition:
    """Parts of the Brier score; ``brier == calibration + refinement + residual``.

    Attributes
    ----------
    brier
        Of the probabilities themselves, summed over classes.
    calibration
        Squared distance between mean probability and frequency in the bins.
    refinement
        What is left if the bins' frequencies were forecast.
    residual
        What binning hides: the variation of the probabilities within bins.
    """

    brier: float
    calibration: float
    refinement: float
    residual: float


def _parts(items: Outcomes, n_bins: int, part: str) -> SumStatistic:
    check_n_bins(n_bins)
    ones = np.ones(len(items))
    terms = []
    for column in range(items.probs.shape[1]):
        probs = np.minimum(items.probs[:, column], 1.0)
        happened = (items.labels == column).astype(np.float64)
        bins = uniform_bins(probs, n_bins)
        terms += [Term(v, bins, n_bins) for v in (ones, probs - happened, happened)]

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        parts = np.zeros_like(totals)
        for weights, gaps, events in zip(sums[::3], sums[1::3], sums[2::3], strict=True):
            numerator = gaps**2 if part == "calibration" else events * (weights - events)
            ratios = np.divide(numerator, weights, out=np.zeros_like(weights), where=weights > 0)
            parts += ratios.sum(axis=0)
        return parts / totals

    return SumStatistic(tuple(terms), finish)


@formula(
    "brier_calibration",
    needs="probs",
    range=(0, 2),
    definition={"edges": EDGES, "over_classes": "sum"},
    biased=True,
)
def brier_calibration(outcomes: Outcomes, *, n_bins: int = 15) -> SumStatistic:
    r"""Miscalibration part of the Brier score, over bins of each class's probability.

    Range [0, 2]; lower is better. :math:`\sum_k \sum_b w_{kb} (\bar p_{kb} - o_{kb})^2` with mean
    probability, frequency and share of weight per class and bin. Other parameters are those of
    :func:`brier_score`.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    References
    ----------
    A. H. Murphy, "A new vector partition of the probability score", J. Appl. Meteorol. 12 (1973).

    Examples
    --------
    >>> round(brier_calibration([[0.9, 0.1]] * 2, [0, 1]), 12)  # 2 * (0.9 - 0.5)²
    0.32
    """
    return _parts(outcomes, n_bins, "calibration")


@formula(
    "brier_refinement",
    needs="probs",
    range=(0, 1),
    definition={"edges": EDGES, "over_classes": "sum"},
)
def brier_refinement(outcomes: Outcomes, *, n_bins: int = 15) -> SumStatistic:
    r"""Part of the Brier score that perfect recalibration of the bins would leave.

    Range [0, 1]; lower is better. :math:`\sum_k \sum_b w_{kb} o_{kb} (1 - o_{kb})`. Other parameters
    are those of :func:`brier_score`.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    References
    ----------
    A. H. Murphy, "A new vector partition of the probability score", J. Appl. Meteorol. 12 (1973).

    Examples
    --------
    >>> brier_refinement([[0.9, 0.1]] * 2, [0, 1])
    0.5
    """
    return _parts(outcomes, n_bins, "refinement")


def brier_decomposition(
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    n_bins: int = 15,
    sample_weight: npt.ArrayLike | None = None,
) -> BrierDecomposition:
    """Split the Brier score into calibration, refinement and what binning hides.

    Parameters are those of :func:`brier_calibration`.

    Examples
    --------
    >>> parts = brier_decomposition([[0.9, 0.1]] * 2, [0, 1])
    >>> round(parts.brier, 12), round(parts.calibration + parts.refinement, 12)
    (0.82, 0.82)
    """
    calibration = brier_calibration(probs, labels, n_bins=n_bins, sample_weight=sample_weight)
    refinement = brier_refinement(probs, labels, n_bins=n_bins, sample_weight=sample_weight)
    whole = brier_score(probs, labels, sample_weight=sample_weight)
    return BrierDecomposition(whole, calibration, refinement, whole - calibration - refinement)
