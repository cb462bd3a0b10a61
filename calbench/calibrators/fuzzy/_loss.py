"""The fuzzy calibrator's loss: likelihood, two soft calibration errors and the Brier score, with gradients.

Arrays are class-first, ``(k, n)``: the inner loops then run over samples, not over three classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calbench.records import Float64, Int64

_N_INTERVALS = 10


@dataclass(frozen=True)
class LossWeights:
    """Weights λ₁, λ₂, λ₃ of the soft calibration error, its class-wise form and the Brier score."""

    soft_ece: float
    classwise_soft_ece: float
    brier: float


def fuzzy_loss(
    scores: Float64, labels: Int64, predicted: Int64, weights: LossWeights
) -> tuple[float, Float64]:
    r"""NLL + λ₁ soft ECE + λ₂ class-wise soft ECE + λ₃ Brier of softmax(u), and the gradient by u.

    Parameters
    ----------
    scores
        u, ``(k, n)``; ``-inf`` where an item lacks an option.
    labels, predicted
        ``(n,)``. The soft ECE is that of the class predicted before calibration: were it the
        largest after it, the loss would jump wherever two classes tie.
    weights
        The λ.
    """
    k, n = scores.shape
    items = np.arange(n)
    shifted = scores - scores.max(axis=0)
    probs = np.exp(shifted)
    total = probs.sum(axis=0)
    probs /= total
    value = float((np.log(total) - shifted[labels, items]).mean())
    target = np.zeros((k, n))
    target[labels, items] = 1.0
    by_probs = np.zeros((k, n))
    if weights.brier:
        gap = probs - target
        value += weights.brier * float(np.einsum("ij,ij->", gap, gap)) / n
        by_probs += (2 * weights.brier / n) * gap
    if weights.soft_ece:
        error, slope = soft_calibration_error(probs[predicted, items], target[predicted, items])
        value += weights.soft_ece * error
        by_probs[predicted, items] += weights.soft_ece * slope
    if weights.classwise_soft_ece:
        share = weights.classwise_soft_ece / k
        for c in range(k):
            error, slope = soft_calibration_error(probs[c], target[c])
            value += share * error
            by_probs[c] += share * slope
    gradient = (probs - target) / n
    gradient += probs * (by_probs - np.einsum("ij,ij->j", probs, by_probs))
    return value, gradient


def soft_calibration_error(confidences: Float64, happened: Float64) -> tuple[float, Float64]:
    r"""Squared calibration error over smooth, overlapping bins, and its gradient by the confidences.

    .. math:: \frac{1}{n} \sum_j \frac{D_j^2}{S_j}, \quad S_j = \sum_i m_j(c_i), \quad
        D_j = \sum_i m_j(c_i) (y_i - c_i)

    Bin memberships m_j are the quadratic B-splines on 10 equal intervals: smooth, summing to one,
    and not 0 in three bins only, unlike Gaussian ones (soft binning is after Karandikar et al.:
    Soft Calibration Objectives for Neural Networks, NeurIPS 2021, eq. 5). Range [0, 1]; 0 is
    calibrated.

    >>> soft_calibration_error(np.array([0.7, 0.7]), np.array([1.0, 0.0]))[0].__round__(3)
    0.04
    """
    n = len(confidences)
    place = confidences * _N_INTERVALS
    first = np.minimum(place.astype(np.intp), _N_INTERVALS - 1)
    f = place - first
    memberships = (0.5 * (1 - f) ** 2, 0.5 + f * (1 - f), 0.5 * f**2)
    slopes = ((f - 1) * _N_INTERVALS, (1 - 2 * f) * _N_INTERVALS, f * _N_INTERVALS)
    gap = happened - confidences
    size, excess = np.zeros((2, _N_INTERVALS + 2))
    for j, m in enumerate(memberships):
        size += np.bincount(first + j, m, minlength=_N_INTERVALS + 2)
        excess += np.bincount(first + j, m * gap, minlength=_N_INTERVALS + 2)
    mean = np.divide(excess, size, out=np.zeros_like(size), where=size > 1e-300)
    gradient = np.zeros(n)
    for j, (m, slope) in enumerate(zip(memberships, slopes, strict=True)):
        average = mean[first + j]
        gradient += 2 * average * (slope * gap - m) - average**2 * slope
    return float((excess * mean).sum()) / n, gradient / n
