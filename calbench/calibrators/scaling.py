"""Loss of logits that are multiplied by one positive number per row, and its derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.arrays import Float64, FloatArray
from calbench.calibrators.inputs import FitData


def scale_derivatives(data: FitData, scales: npt.ArrayLike) -> tuple[Float64, Float64, Float64]:
    r"""Per-row negative log-likelihood of softmax(q z), and its derivatives by q.

    .. math:: \ell = \log \sum_k e^{q z_k} - q z_y, \quad \ell' = E_p[z] - z_y, \quad
        \ell'' = \mathrm{Var}_p[z]

    Parameters
    ----------
    data
        The calibration split.
    scales
        q, one number or ``(n,)``.

    Returns
    -------
    tuple
        Three arrays ``(n,)``.
    """
    q = np.broadcast_to(np.asarray(scales, dtype=np.float64), data.n_samples)
    loss, first, second = np.empty((3, data.n_samples))
    for block, z, target in data.blocks():
        total, mean, square = _moments(z, np.exp(q[block, None] * z), 2)
        loss[block] = np.log(total) - q[block] * target
        first[block] = mean - target
        second[block] = square - mean**2
    return loss, first, np.maximum(second, 0.0)


def scale_cumulants(
    data: FitData, scale: float, order: int, dtype: type[np.floating[Any]] = np.float64
) -> list[float]:
    r"""Mean derivatives, first to ``order``-th (at most 5), of the loss of softmax(q z), one q for all.

    The first is the mean of :math:`E_p[z] - z_y`, the others are the mean cumulants of z under p,
    computed in the precision of ``dtype``.
    """
    targets, *moments = found = np.empty((1 + order, data.n_samples))
    scratch = None
    for block, z, target in data.blocks(scale=scale, dtype=dtype):
        scratch = np.empty_like(z) if scratch is None else scratch[: len(z)]
        weights = np.multiply(z, dtype(scale), out=scratch)
        found[1:, block] = _moments(z, np.exp(weights, out=weights), order)[1:]
        targets[block] = target
    first, *others = _cumulants(moments)
    return [float((first - targets).mean()), *(float(cumulant.mean()) for cumulant in others)]


def _cumulants(moments: list[Float64]) -> list[Float64]:
    """Return as many cumulants as there are raw moments, each ``(n,)``."""
    one, two, three, four, five = moments + [np.zeros_like(moments[0])] * (5 - len(moments))
    square, variance = one**2, two - one**2
    return [
        one,
        variance,
        three - one * (3 * two - 2 * square),
        four - 4 * one * three - 3 * variance**2 + square * (6 * two - 3 * square),
        five
        - 5 * one * four
        - 10 * three * (two - 2 * square)
        + one * (30 * two**2 - 60 * two * square + 24 * square**2),
    ][: len(moments)]


def _moments(z: FloatArray, weights: FloatArray, order: int) -> list[Float64]:
    """Sum of the weights of each row, and the weighted mean of z, z², ...; overwrites ``weights``."""
    ones = np.ones(z.shape[1], dtype=z.dtype)  # a matrix product sums rows faster than sum()
    total = (weights @ ones).astype(np.float64)
    found = [total]
    for _ in range(order):
        weights *= z
        found.append((weights @ ones) / total)
    return found
