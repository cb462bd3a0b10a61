r"""Intervals of means over pairs of items (U-statistics), of one model or of the difference of two.

With :math:`h_{ij}` a pair's value, :math:`\zeta_1` the variance of an item's mean over its pairs and
:math:`\zeta_2` that of a pair, the variance is :math:`(4 (n - 2) \zeta_1 + 2 \zeta_2) / (n (n - 1))`. The
second part matters where the first is 0: of a calibrated model, and of two models whose errors are alike. A
paired difference has the pairs' differences for :math:`h`.

References
----------
W. Hoeffding, "A class of statistics with asymptotically normal distribution", Ann. Math. Statist. 19 (1948).
"""

from __future__ import annotations

import numpy as np
import scipy

from calbench.metrics import PairStatistic


def pair_bounds(
    reference: PairStatistic | None, candidate: PairStatistic, *, factor: float = 1.0, level: float = 0.95
) -> tuple[float, float]:
    """Return an interval of ``candidate - factor * reference``, or of the candidate alone."""
    n = len(candidate)
    if n < 3:
        return -np.inf, np.inf
    means, squares = np.empty(n), 0.0
    others = None if reference is None else reference.blocks()
    for rows, products in candidate.blocks():
        pairs = products if others is None else products - factor * next(others)[1]
        pairs[np.arange(len(pairs)), np.arange(rows.start, rows.stop)] = 0.0
        means[rows] = pairs.sum(axis=1) / (n - 1)
        squares += float((pairs**2).sum())
    value = float(means.mean())
    of_pairs = max(squares / (n * (n - 1)) - value**2, 0.0)
    # An item's mean over its pairs is noisy itself.
    of_items = max(float(means.var(ddof=1)) - of_pairs / (n - 1), 0.0)
    error = np.sqrt((4 * (n - 2) * of_items + 2 * of_pairs) / (n * (n - 1)))
    half = float(scipy.special.ndtri((1 + level) / 2) * error)
    return value - half, value + half
