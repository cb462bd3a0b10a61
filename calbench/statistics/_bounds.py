r"""Bounds of calibration errors that stay valid although noise biases such errors upwards.

An expected calibration error is :math:`\theta = \sum_g |\mu_g|`, and what is measured is
:math:`\sum_g |m_g|` with :math:`m_g \approx N(\mu_g, s_g^2)`. Noise cannot cancel where :math:`\mu_g`
is near 0, so the measured value is too high by :math:`s_g b(\mu_g / s_g)` with
:math:`b(t) = 2 \varphi(t) - 2 |t| \Phi(-|t|)`: up to :math:`0.8 s_g` a group, and next to nothing where
:math:`|\mu_g|` exceeds :math:`2 s_g`. Nobody knows :math:`\mu_g`, so no correction is right everywhere;
but the bias can be bracketed. With :math:`t = m_g / s_g`,

- ``high``: :math:`|m_g| - s_g b(t)` exceeds :math:`|\mu_g|` on average, or falls
  short by 0.1 s at most;
- ``low``: :math:`|m_g| - s_g A e^{-t^2 / 2 c^2}`, with :math:`A` such that it averages 0 where
  :math:`\mu_g = 0`, falls below :math:`|\mu_g|` on average everywhere if :math:`m_g` is normal. The sum
  over a handful of items is not: there it may exceed it by 0.1 s, and by 0.45 s for a single item.

What groups fall short by adds up as their number, the sampling error as its root. So with very many
groups, or very small ones, what they may fall short by is added to the bounds.

A bound on how much worse a candidate is takes ``high`` of one model and ``low`` of the other, and adds
the sampling error of their paired difference. Models that differ little have a better bound still:
:math:`|\theta_1 - \theta_2| \le \sum_g |\mu_{1g} - \mu_{2g}|`. docs/statistics.md shows by simulation
that the bounds hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from calbench.metrics import AbsoluteSums
from calbench.records import Float64

Bounds = tuple[float, float]

_WIDTH = 0.75  # c above: narrower follows the bias more closely, wider is less noisy
_HEIGHT = np.sqrt(2 / np.pi) * np.sqrt(1 + _WIDTH**2) / _WIDTH
_SHORT, _SHORT_ALONE = 0.1, 0.45
# What may be short without notice, as a share of all sums' deviation: no less than 20 equal groups.
_UNNOTICED = 0.45
# A bootstrap shows about 0.4 of the bias where the true sums are 0; the rest is for its own noise.
_BIAS_PER_BOOTSTRAP_BIAS = 4.0
_LARGEST_RATIO = 1e6


def absolute_sum_bounds(
    candidate: AbsoluteSums, reference: AbsoluteSums | None, *, factor: float = 1.0, level: float = 0.95
) -> Bounds:
    """Return bounds of ``candidate - factor * reference`` for metrics that are absolute sums.

    Without a reference, the bounds are of the candidate's own metric.
    """
    if reference is None:
        low, high = -upper_bound([(-1.0, candidate)], level), upper_bound([(1.0, candidate)], level)
        return max(low, 0.0), high
    low = -_upper_difference(factor, reference, 1.0, candidate, level)
    high = _upper_difference(1.0, candidate, factor, reference, level)
    if low <= high:
        return low, high
    # Where models hardly differ there is next to no sampling error, and what the correction for bias
    # falls short by makes the bounds cross: then the bound that needs no correction decides.
    widest = _apart(1.0, candidate, factor, reference, _quantile(level)) / candidate.n_items
    return 0.0 - widest, widest  # not -0.0


def resampled_bounds(
    candidate: tuple[float, Float64],
    reference: tuple[float, Float64],
    *,
    factor: float = 1.0,
    level: float = 0.95,
) -> Bounds:
    """Return bounds of ``candidate - factor * reference`` for other metrics that noise biases upwards.

    Each model is its value and its values on shared resamples. The bias that the bootstrap adds once
    more shows how large the bias may be; models that move together share theirs.
    """
    (a, a_values), (b, b_values) = candidate, (factor * reference[0], factor * reference[1])
    differences = a_values - b_values
    spread = max(a_values.std(), b_values.std())
    apart = min(1.0, float(differences.std() / spread)) if spread > 0 else 0.0
    allowances = [
        _BIAS_PER_BOOTSTRAP_BIAS * apart * max(float(values.mean()) - value, 0.0)
        for value, values in ((a, a_values), (b, b_values))
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(differences, [tail, 1 - tail]) - differences.mean()
    return float(a - b - allowances[0] + low), float(a - b + allowances[1] + high)


def ratio_bounds(bounds_at: Callable[[float], Bounds]) -> Bounds:
    """Return bounds of ``candidate / reference - 1``, given those of ``candidate - factor * reference``.

    They are the factors that the difference's bounds do not exclude (Fieller's method), so that the
    ratio is bounded wherever the reference's metric is clearly above 0, and unbounded elsewhere. If
    both are exactly 0 whatever the noise, that is no change.
    """
    if bounds_at(0.0) == bounds_at(1.0) == (0.0, 0.0):
        return 0.0, 0.0
    low = _crossing(lambda factor: bounds_at(factor)[0])
    high = _crossing(lambda factor: bounds_at(factor)[1])
    return low - 1, high - 1


def _crossing(bound: Callable[[float], float]) -> float:
    """Return the factor, at least 0, at which a falling bound reaches 0; infinity if it never does."""
    if bound(0.0) <= 0:
        return 0.0
    below, above = 0.0, 1.0
    while bound(above) > 0:
        below, above = above, above * 4
        if above > _LARGEST_RATIO:
            return float("inf")
    return float(brentq(bound, below, above, xtol=1e-9, rtol=1e-7))


def upper_bound(terms: Sequence[tuple[float, AbsoluteSums]], level: float) -> float:
    """Return an upper bound of a weighted sum of metrics that are absolute sums.

    A model that counts positively is corrected for the least bias, one that counts negatively for the
    most; for the latter coarser groups compete with its own.
    """
    z = _quantile(level)
    n = terms[0][1].n_items
    bounds = []
    for coarse in (False, True):
        total, extra, short, spread = 0.0, 0.0, 0.0, 0.0
        parts: Float64 = np.zeros(n)
        for weight, sums in terms:
            used = sums.coarsened() if coarse and weight < 0 else sums
            deviations, more = used.deviations()
            value, part = _corrected(used, deviations, _least_bias if weight > 0 else _most_bias)
            total, extra = total + weight * value, extra + weight**2 * more
            parts = parts + weight * part
            alone = used.counts() == 1
            shares = np.where(alone & (weight < 0), _SHORT_ALONE, _SHORT)
            short += abs(weight) * float(shares @ deviations)
            spread += weight**2 * float(deviations @ deviations)
        short = max(0.0, short - _UNNOTICED * np.sqrt(spread))
        bounds.append(total + short + z * np.sqrt(n * np.var(parts) + extra))
    return float(min(bounds) / n)


def _upper_difference(
    first_factor: float, first: AbsoluteSums, second_factor: float, second: AbsoluteSums, level: float
) -> float:
    """Return an upper bound of ``first_factor * first - second_factor * second``."""
    return min(
        upper_bound([(first_factor, first), (-second_factor, second)], level),
        _apart(first_factor, first, second_factor, second, _quantile(level)) / first.n_items,
    )


def _apart(
    first_factor: float, first: AbsoluteSums, second_factor: float, second: AbsoluteSums, z: float
) -> float:
    """Return an upper bound, times n, of how far two models can lie apart, group by group."""
    if len(first.coarse) != len(second.coarse):
        return float("inf")
    difference = first_factor * first.sums() - second_factor * second.sums()
    signs = np.sign(difference)
    parts = first_factor * first.signed(signs) - second_factor * second.signed(signs)
    return float(np.abs(difference).sum() + z * np.sqrt(first.n_items * np.var(parts)))


def _quantile(level: float) -> float:
    """Normal quantile of a bound: two ways to bound a model from below share the error allowed."""
    return float(ndtri(1 - (1 - level) / 4))


def _least_bias(t: Float64) -> Float64:
    """Return the bias of ``|t|`` if ``t`` were the truth."""
    return np.asarray(2 * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi) - 2 * t * ndtr(-t))


def _most_bias(t: Float64) -> Float64:
    """Return more than the bias of ``|t|``, on average, whatever the truth."""
    return np.asarray(_HEIGHT * np.exp(-(t**2) / (2 * _WIDTH**2)))


def _corrected(
    sums: AbsoluteSums, deviations: Float64, bias: Callable[[Float64], Float64]
) -> tuple[float, Float64]:
    """Return the sum less a bias, and each item's part of it."""
    values = sums.sums()
    size = np.abs(values)
    t = np.divide(size, deviations, out=np.full_like(size, 1e9), where=deviations > 0)
    return float((size - deviations * bias(t)).sum()), sums.signed(np.sign(values))
