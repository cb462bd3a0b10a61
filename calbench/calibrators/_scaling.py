"""Loss of logits that are multiplied by one positive number per row, and its derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.calibrators._inputs import FitData
from calbench.records import Float64, FloatArray

_LONG_ROW = 32  # from here on a row's inner product costs less than a pass over all rows


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
    r"""Mean derivatives, first to ``order``-th (at most 3), of the loss of softmax(q z), one q for all.

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
    return [float((moments[0] - targets).mean()), *_mean_cumulants(moments)]


def _mean_cumulants(moments: list[Float64]) -> list[float]:
    """Average, over rows, the cumulants from the second on; as many as there are raw moments, at most three.

    Their usual formulas, written so that most of it is inner products of rows' moments.
    """
    order, one = len(moments), moments[0]
    sums = []
    if order > 1:
        two = moments[1]
        square = one * one
        variance = two - square
        sums.append(variance.sum())
    if order > 2:
        three = moments[2]
        sums.append(three.sum() - 3 * (one @ two) + 2 * (one @ square))
    return [float(total) / len(one) for total in sums]


def _moments(z: FloatArray, weights: FloatArray, order: int) -> list[Float64]:
    """Sum of the weights of each row, and the weighted mean of z, z², ...; overwrites ``weights``."""
    ones = np.ones(z.shape[1], dtype=z.dtype)  # a matrix product sums rows faster than sum()
    total = (weights @ ones).astype(np.float64)
    found = [total]
    for _ in range(order - 1):
        weights *= z
        found.append((weights @ ones) / total)
    # Nobody needs the last product itself.
    last = np.vecdot(weights, z) if z.shape[1] >= _LONG_ROW else np.multiply(weights, z, out=weights) @ ones
    return [*found, last / total]
