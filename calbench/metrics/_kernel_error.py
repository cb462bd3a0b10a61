"""The kernel calibration error: no bins, the probability of every class, and no bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._registration import formula
from calbench.records import Float64

_ROWS_AT_A_TIME = 256


@dataclass(frozen=True, eq=False)
class PairStatistic:
    """A mean of products over pairs of different items: for any weighting, and pair by pair for its variance.

    Attributes
    ----------
    probs, deviations : (n, k)
        Where an item lies, and the one-hot label less that.
    bandwidth
        Distance at which an item counts 1/e.
    """

    probs: Float64
    deviations: Float64
    bandwidth: float

    def __len__(self) -> int:
        return len(self.probs)

    def blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield rows of the products of all pairs, each ``(b, n)``; an item's own among them."""
        for start in range(0, len(self), _ROWS_AT_A_TIME):
            rows = slice(start, min(start + _ROWS_AT_A_TIME, len(self)))
            near = np.exp(scipy.spatial.distance.cdist(self.probs[rows], self.probs) / -self.bandwidth)
            yield rows, np.asarray(near * (self.deviations[rows] @ self.deviations.T))

    def __call__(self, weights: Float64) -> Float64:
        """Return ``(r,)`` values for weights ``(n, r)``; NaN for a single item, which has no other."""
        n = len(self)
        if n < 2:
            return np.full(weights.shape[1], np.nan)
        counts = weights * (n / weights.sum(axis=0))
        total: npt.NDArray[np.float64] = -((self.deviations**2).sum(axis=1) @ counts)
        for rows, products in self.blocks():
            total = total + (counts[rows] * (products @ counts)).sum(axis=0)
        return np.asarray(total / (n * (n - 1)))


@formula(
    "skce",
    range=(-2, 2),
    needs="probs",
    definition={"kernel": "exp(-distance / bandwidth) times the identity", "estimator": "unbiased"},
)
def squared_kernel_calibration_error(outcomes: Outcomes, *, bandwidth: float = 0.3) -> PairStatistic:
    r"""Squared kernel calibration error: whether errors of items with like probabilities go together.

    Lower is better; the truth lies in [0, 2], and is 0 for a model all of whose probabilities are
    calibrated. The estimate has no bias: that of a calibrated model is about 0, and may lie below. With
    :math:`\delta_i = e_{y_i} - p_i` it is the mean over pairs :math:`i \ne j` of
    :math:`\exp(-\lVert p_i - p_j \rVert / \gamma)\, \delta_i^\top \delta_j`. It is a *square*, so a margin
    made for ``ece`` is none for it. Its time goes with the square of the number of items.

    Parameters
    ----------
    bandwidth
        :math:`\gamma`, a Euclidean distance of probabilities, which is at most 1.41. It is not chosen by
        the data, so that two models have the same. The other parameters are those of :func:`brier_score`.

    Raises
    ------
    InputError
        There is a single item, or the bandwidth is not positive.

    References
    ----------
    Widmann, Lindsten & Zachariah, "Calibration tests in multi-class classification", NeurIPS 2019, table 1,
    :math:`\widehat{\mathrm{SKCE}}_{uq}` (arXiv:1910.11385).

    Examples
    --------
    >>> round(squared_kernel_calibration_error([[0.9, 0.1], [0.9, 0.1]], [1, 1]), 12)
    1.62
    """
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise InputError(f"bandwidth={bandwidth!r}; use a positive distance, such as 0.3")
    probs = outcomes.probs
    one_hot = np.zeros_like(probs)
    one_hot[np.arange(len(outcomes)), outcomes.labels] = 1.0
    return PairStatistic(probs, one_hot - probs, float(bandwidth))
