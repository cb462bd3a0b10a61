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
    for block, z in data.blocks():
        total, mean, square = _moments(z, np.exp(q[block, None] * z), 2)
        target = z[np.arange(len(z)), data.labels[block]]
        loss[block] = np.log(total) - q[block] * target
        first[block] = mean - target
        second[block] = square - mean**2
    return loss, first, np.maximum(second, 0.0)


def scale_slopes(
    data: FitData, scale: float, dtype: type[np.floating[Any]] = np.float64
) -> tuple[float, float, float]:
    """Mean first, second and third derivative of the loss of softmax(q z) at one q for all rows."""
    sums = np.zeros(3)
    for block, z in data.blocks(scale=scale, dtype=dtype):
        weights = z * dtype(scale)
        _, mean, square, cube = _moments(z, np.exp(weights, out=weights), 3)
        target = z[np.arange(len(z)), data.labels[block]]
        sums += (
            (mean - target).sum(),
            (square - mean**2).sum(),
            (cube - mean * (3 * square - 2 * mean**2)).sum(),
        )
    first, second, third = (sums / data.n_samples).tolist()
    return first, second, third


def _moments(z: FloatArray, weights: FloatArray, order: int) -> list[Float64]:
    """Sum of the weights of each row, and the weighted mean of z, z², ...; overwrites ``weights``."""
    ones = np.ones(z.shape[1], dtype=z.dtype)  # a matrix product sums rows faster than sum()
    total = (weights @ ones).astype(np.float64)
    found = [total]
    for _ in range(order):
        weights *= z
        found.append((weights @ ones) / total)
    return found
