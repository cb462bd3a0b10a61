r"""Contrasts of several models on the same items: effects, and interactions of effects.

A contrast is :math:`\sum_i w_i \theta_i` over models with metric :math:`\theta_i`. The difference of two
models is one; the interaction of a 2 × 2 design, :math:`(\theta_d - \theta_c) - (\theta_b - \theta_a)`,
another. All models are resampled together, so what makes an item hard for all of them cancels.

Metrics that noise biases upwards, such as ECE, are bounded as in :mod:`calbench.statistics._bounds`: a
model that counts positively by the largest value that its groups allow, one that counts negatively by
the smallest, plus the sampling error of the whole contrast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from calbench.errors import InputError
from calbench.records import Float64
from calbench.statistics._bounds import Bounds, resampled_bounds, upper_bound
from calbench.statistics._interval_formulas import check_level, holding, sampled_interval
from calbench.statistics._intervals import Estimate, Resampled, check_paired, difference, difference_bounds
from calbench.statistics._unit_sums import UnitSums

Terms = Sequence[tuple[float, Resampled]]
SMALLEST_P = 1e-4


def contrast(terms: Terms, level: float = 0.95) -> Estimate:
    """Return a weighted sum of models' metrics with its paired interval.

    Parameters
    ----------
    terms
        A weight and a resampled metric for each model; one metric, one set of resamples.
    level
        Of confidence.

    Raises
    ------
    InputError
        There are no terms, they were not resampled together, or the metric is not defined for one.

    Examples
    --------
    >>> from calbench.metrics import Outcomes
    >>> from calbench.statistics import Resamples, resample
    >>> draw = Resamples.draw(range(4), n_resamples=200, seed=0)
    >>> right = ([1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0])
    >>> a, b, c, d = (
    ...     resample(["accuracy"], Outcomes.from_top_label([0.9] * 4, r), draw)["accuracy"] for r in right
    ... )
    >>> contrast([(1, d), (-1, c), (-1, b), (1, a)]).value
    -0.25
    """
    _check(terms)
    if terms[0][1].metric.shared_groups:
        (_, candidate), (_, reference) = terms
        return difference(reference, candidate, level)
    value = math.fsum(weight * result.value for weight, result in terms)
    interval = holding(contrast_bounds(terms, level), value)
    return Estimate(value, interval, level, terms[0][1].n_items)


def contrast_bounds(terms: Terms, level: float = 0.95) -> Bounds:
    """Return bounds of a contrast that allow for the metric's bias."""
    check_level(level)
    if [weight for weight, _ in terms] == [1, -1]:
        return difference_bounds(terms[1][1], terms[0][1], level=level)
    if all(result.sums is not None for _, result in terms):
        design = terms[0][1].design
        sums = [(w, UnitSums.of(result.sums, design)) for w, result in terms if result.sums is not None]
        if design.too_few:
            return -np.inf, np.inf
        low = -upper_bound([(-weight, part) for weight, part in sums], level)
        high = upper_bound(sums, level)
        # Where there is next to no sampling error, what corrections fall short by may make them cross.
        return min(low, high), max(low, high)
    metric = terms[0][1].metric
    if metric.biased:
        sides = [_side(terms, sign) for sign in (-1, 1)]
        return resampled_bounds(*sides, level=level)
    values = np.asarray(sum(weight * result.values for weight, result in terms))
    return sampled_interval(values, terms[0][1].design, level)


def contrast_p_value(terms: Terms) -> float:
    """Return the smallest p, from 0.0001 up, at which the bounds of the contrast hold 0."""
    _check(terms)
    return smallest_p(lambda level: contrast_bounds(terms, level))


def smallest_p(bounds_at: Callable[[float], Bounds]) -> float:
    """Return the smallest p, from 0.0001 up, at which bounds at level ``1 - p`` hold 0."""

    def holds_zero(p: float) -> bool:
        low, high = bounds_at(1 - p)
        return low <= 0 <= high

    below, above = SMALLEST_P, 1 - 1e-9
    if not holds_zero(below):
        return below
    if holds_zero(above):
        return 1.0
    while above - below > 1e-3 * below:
        middle = float(np.sqrt(below * above))
        below, above = (middle, above) if holds_zero(middle) else (below, middle)
    return above


def _side(terms: Terms, sign: int) -> tuple[float, Float64]:
    chosen = [(abs(weight), result) for weight, result in terms if sign * weight > 0]
    values = sum((weight * result.values for weight, result in chosen), np.zeros_like(terms[0][1].values))
    return math.fsum(weight * result.value for weight, result in chosen), np.asarray(values)


def _check(terms: Terms) -> None:
    if not terms:
        raise InputError("a contrast needs at least one model")
    first = terms[0][1]
    if first.metric.shared_groups and [weight for weight, _ in terms] != [1, -1]:
        raise InputError(
            f"{first.metric.id!r} compares two models in the candidate's bins; for other contrasts take 'ece'"
        )
    for _, result in terms:
        check_paired(first, result)
        if math.isnan(result.value):
            raise InputError(
                f"{result.metric.id} is not defined for one of the models (say, it is never sure enough), so"
                " it cannot be compared"
            )
