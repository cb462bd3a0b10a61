"""Maps that are stored as tables: steps over bins, and straight lines between points."""

from __future__ import annotations

from typing import Any

import numpy as np

from calbench.calibrators._array_ops import Ops
from calbench.errors import InputError
from calbench.records import Float64


def equal_mass_edges(values: Float64, n_bins: int) -> Float64:
    """Inner edges of bins that hold equally many values: midpoints between neighbours.

    Equal values share a bin: a cut that would part them moves up to their end, so there may be fewer
    than ``n_bins`` bins.
    """
    ordered = np.sort(values)
    sizes = [len(group) for group in np.array_split(ordered, n_bins)]
    cuts = np.cumsum(sizes)[:-1]
    cuts = np.searchsorted(ordered, ordered[cuts[(cuts > 0) & (cuts < len(ordered))] - 1], side="right")
    cuts = np.unique(cuts[cuts < len(ordered)])
    below, above = ordered[cuts - 1], ordered[cuts]
    middle = (below + above) / 2
    return np.where(middle < above, middle, below)  # between neighbouring floats there is no middle


def bin_means(index: Any, values: Float64, empty: Float64) -> Float64:
    """Mean of the values in each bin, and ``empty`` ``(n_bins,)`` where a bin has none."""
    count = np.bincount(index, minlength=len(empty))
    total = np.bincount(index, weights=values, minlength=len(empty))
    return np.where(count > 0, total / np.maximum(count, 1), empty)


def step(ops: Ops, x: Any, name: str, edges: Float64, values: Float64) -> Any:
    """Value of the bin that x falls in; bins are closed on the right."""
    if len(edges) == 0:
        return x * 0.0 + ops.constant(f"{name}_values", values[0])
    index = ops.bucket(x, ops.constant(f"{name}_edges", edges))
    return ops.constant(f"{name}_values", values)[index]


def interpolate(ops: Ops, x: Any, name: str, knots: Float64, values: Float64) -> Any:
    """Straight lines between points, constant outside them."""
    index = ops.bucket(x, ops.constant(f"{name}_knots", knots))

    def around(numbers: Float64, which: str) -> tuple[Any, Any]:
        left = np.concatenate([numbers[:1], numbers])
        right = np.concatenate([numbers, numbers[-1:]])
        return (
            ops.constant(f"{name}_{which}_left", left)[index],
            ops.constant(f"{name}_{which}_right", right)[index],
        )

    x0, x1 = around(knots, "knots")
    y0, y1 = around(values, "values")
    gap = x1 - x0
    share = ops.where(gap > 0, (x - x0) / ops.where(gap > 0, gap, 1.0), 0.0)
    return y0 + share * (y1 - y0)


def check_bins(n_bins: object, name: str) -> None:
    """Raise :class:`InputError` unless a number of bins is an integer from 1 up."""
    if not isinstance(n_bins, int) or isinstance(n_bins, bool) or n_bins < 1:
        raise InputError(f"{name}: n_bins is {n_bins!r}; use an integer from 1 up")


def certain(values: tuple[Float64, ...]) -> tuple[str, ...]:
    """Word the warning for maps that say 0 or 1; empty if they do not."""
    levels = np.concatenate(values)
    sure = int(((levels <= 0) | (levels >= 1)).sum())
    if not sure:
        return ()
    warning = (
        f"{sure} of {len(levels)} levels are probability 0 or 1: an item on the wrong side of one adds"
        " 708 nats, all that a float holds, to the summed negative log-likelihood"
    )
    return (warning,)
