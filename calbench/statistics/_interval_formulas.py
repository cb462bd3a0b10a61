"""Intervals from a value and its resamples, whatever the metric: percentile, BCa, and those of shares."""

from __future__ import annotations

import numpy as np
import scipy

from calbench.errors import InputError
from calbench.metrics import Statistic
from calbench.records import Float64
from calbench.statistics._design import Design

_MAX_UNDEFINED = 0.05


def rate_interval(value: float, level: float, n_items: float) -> tuple[float, float]:
    """Return Wilson's interval of a share: all of ten items right is no proof of 1.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    z = float(scipy.special.ndtri((1 + level) / 2))
    n = n_items + z**2
    centre = (n_items * value + z**2 / 2) / n
    half = z / n * np.sqrt(n_items * value * (1 - value) + z**2 / 4)
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def rate_change_interval(
    value: float, differences: Float64, level: float, n_items: int, design: Design | None = None
) -> tuple[float, float]:
    """Return Agresti and Min's interval of a paired difference of shares: half an item in each cell.

    One share may have been multiplied by a factor before.

    Parameters
    ----------
    value
        The difference.
    differences
        On the resamples; their variance says how many items differ.
    design
        How they were drawn: a cluster counts as one item.

    References
    ----------
    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24 (2005).
    """
    z = float(scipy.special.ndtri((1 + level) / 2)) if design is None else design.quantile((1 + level) / 2)
    n_items = n_items if design is None else design.n_units
    n = n_items + 2
    differing = n_items * (n_items * float(np.nanvar(differences)) + value**2) + 1
    centre = n_items * value / n
    half = z * np.sqrt(max(differing / n - centre**2, 0.0) / n)
    return float(centre - half), float(centre + half)


def hull(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Return the least interval that holds both."""
    return min(a[0], b[0]), max(a[1], b[1])


def holding(interval: tuple[float, float], value: float) -> tuple[float, float]:
    """Return the interval that also holds the value itself, where that is defined."""
    if not np.isfinite(value):
        return interval
    return min(interval[0], value), max(interval[1], value)


def widening(design: Design, level: float) -> float:
    """By how much an interval from resampled units must be wider: few of them vary less than they should."""
    if design.clusters is None:
        return 1.0
    share = (1 + level) / 2
    shares = design.shares
    return design.quantile(share) / float(scipy.special.ndtri(share)) / float(np.sqrt(1 - shares @ shares))


def sampled_interval(values: Float64, design: Design, level: float) -> tuple[float, float]:
    """Return the percentile interval; of clusters, which are few, Student's with their standard error."""
    if design.clusters is None:
        return percentile_interval(values, level)
    check_level(level)
    defined = _defined(values)
    half = float(defined.std()) * widening(design, level) * float(scipy.special.ndtri((1 + level) / 2))
    return float(defined.mean()) - half, float(defined.mean()) + half


def percentile_interval(values: Float64, level: float = 0.95) -> tuple[float, float]:
    """Return the central interval that holds a share ``level`` of the resampled values."""
    tail = (1 - check_level(level)) / 2
    defined = _defined(values)
    if np.isinf(defined).any():  # interpolation would turn an infinite bound into NaN
        low, high = np.quantile(defined, [tail, 1 - tail], method="nearest")
    else:
        low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _defined(values: Float64) -> Float64:
    """Leave out resamples on which the metric is not defined, if they are few."""
    undefined = np.isnan(values)
    if undefined.mean() > _MAX_UNDEFINED:
        raise InputError(
            f"the metric is not defined on {undefined.mean():.0%} of the resamples (say, they hold no wrong"
            " answer, or none above the threshold); an interval needs more items"
        )
    return np.asarray(values[~undefined])


def bca_interval(
    value: float, values: Float64, jackknife: Float64, level: float = 0.95
) -> tuple[float, float]:
    """Return Efron's bias-corrected and accelerated interval.

    Parameters
    ----------
    value
        The estimate on all items.
    values : (n_resamples,)
        On the resamples.
    jackknife : (n,)
        With each item left out in turn.
    """
    tail = (1 - check_level(level)) / 2
    defined = _defined(values)
    below = ((defined < value).sum() + (defined == value).sum() / 2) / len(defined)
    if not 0 < below < 1:  # all resamples on one side: nothing to correct with
        return percentile_interval(defined, level)
    bias = scipy.special.ndtri(below)
    deviations = jackknife.mean() - jackknife
    spread = (deviations**2).sum()
    acceleration = (deviations**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + scipy.special.ndtri([tail, 1 - tail])
    low, high = np.quantile(defined, scipy.special.ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def leave_one_out(statistic: Statistic, n_items: int) -> Float64:
    """Return the statistic with each item left out in turn, ``(n,)``."""
    if n_items < 2:
        raise InputError("an interval of one item cannot be accelerated; use method='percentile'")
    step = max(1, 4_000_000 // n_items)

    parts = []
    for start in range(0, n_items, step):
        width = min(step, n_items - start)
        weights = np.ones((n_items, width))
        weights[np.arange(start, start + width), np.arange(width)] = 0.0
        parts.append(statistic(weights))
    return np.concatenate(parts)


def check_level(level: float) -> float:
    """Return the level, or refuse what is not between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level={level}; use a share between 0 and 1, such as 0.95")
    return level
