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

What groups fall short by adds up as their number, the sampling error as its root: it is added to the
bounds.

A bound on how much worse a candidate is takes ``high`` of one model and ``low`` of the other, and adds
the sampling error of their paired difference. Models that differ little have a better bound still:
:math:`|\theta_1 - \theta_2| \le \sum_g |\mu_{1g} - \mu_{2g}|`, which has a ``high`` of its own.

With :math:`z` the quantile, :math:`s` the standard error of the corrected value and :math:`\kappa` the third
moment of the items' parts over their second, a bound is the corrected value, plus what it may fall short by,
:math:`z s` and :math:`\kappa (z^2 - 1) / 3`: parts that are rare, large and of one sign show little spread
where they are few by chance. docs/statistics.md shows by simulation that the bounds hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy

from calbench.metrics import AbsoluteSums
from calbench.records import Float64
from calbench.statistics._design import Design
from calbench.statistics._unit_sums import UnitSums, combined_variance

Bounds = tuple[float, float]
Bias = Callable[[Float64], Float64]

_WIDTH = 0.75  # c above: narrower follows the bias more closely, wider is less noisy
_HEIGHT = np.sqrt(2 / np.pi) * np.sqrt(1 + _WIDTH**2) / _WIDTH
_SHORT, _SHORT_ALONE = 0.1, 0.45
# Of the error allowed: what the bounds with fine groups, with coarse ones and group by group get.
_FINE_SHARE, _COARSE_SHARE, _APART_SHARE = 0.08, 0.1, 0.36
_ALONE_SHARE = 0.5  # of a model's own upper bound, with which nothing competes
# Where corrections are this much of the standard error, the bound keeps to its share; with none it gets most.
_CORRECTED, _MOST = 0.7, 0.8
_LAX = 0.05  # 1 - level from where on
_REST = 0.03  # higher levels keep that of their share: a few items' sums have longer tails than a normal
_FAR = 1e9  # standard errors
# A bootstrap shows about 0.4 of the bias where the true sums are 0; the rest is for its own noise.
_BIAS_PER_BOOTSTRAP_BIAS = 4.0
_LARGEST_RATIO = 1e6


def absolute_sum_bounds(
    reference: AbsoluteSums | None,
    candidate: AbsoluteSums,
    *,
    factor: float = 1.0,
    level: float = 0.95,
    design: Design | None = None,
) -> Bounds:
    """Return bounds of ``candidate - factor * reference`` for metrics that are absolute sums.

    Without a reference, the bounds are of the candidate's own metric. ``design`` says how the items were
    drawn: one by one if it is left out.
    """
    ways = _ways(reference, candidate, factor, design or _alone(candidate.n_items))
    if reference is None:
        return max(-_least(ways[0], level), 0.0), _least(ways[1], level)
    return _between(ways, level)


def unit_sum_bounds(reference: UnitSums, candidate: UnitSums, *, level: float = 0.95) -> Bounds:
    """Return bounds of ``candidate - reference``, both of which are sums by sampled unit already."""
    return _between(_two_sided(candidate, 1.0, reference), level)


def _between(ways: tuple[list[Way], list[Way]], level: float) -> Bounds:
    low, high = -_least(ways[0], level), _least(ways[1], level)
    if low <= high or len(ways[1]) < 3:
        return min(low, high), max(low, high)
    # Where models hardly differ there is next to no sampling error, and what the correction for bias
    # falls short by makes the bounds cross: then the bound that needs no correction decides.
    widest = ways[1][-1].at(level)
    return 0.0 - widest, widest  # not -0.0


@dataclass(frozen=True)
class Way:
    """One way to bound a quantity from above.

    Attributes
    ----------
    centre
        The corrected value, times n.
    variance
        Its own.
    share
        Of the error allowed.
    design
        How the items were drawn.
    short, skew
        What the centre may fall short by; the third moment of the items' parts over their second.
    """

    centre: float
    variance: float
    share: float
    design: Design
    short: float = 0.0
    skew: float = 0.0

    def at(self, level: float) -> float:
        """Return the bound at a level, as a mean over the items."""
        lax = min(1.0, (1 - level) / _LAX)
        tail = (1 - level) / 2 * self.share * (_REST + (1 - _REST) * lax)
        z = self.design.quantile(1 - tail)
        skewed = max(z**2 - 1, 0.0) / 3 * self.skew
        return float((self.centre + self.short + z * np.sqrt(self.variance) + skewed) / self.design.n_items)


def _least(ways: Sequence[Way], level: float) -> float:
    return min(way.at(level) for way in ways)


@lru_cache(maxsize=8)
def _ways(
    reference: AbsoluteSums | None, candidate: AbsoluteSums, factor: float, design: Design
) -> tuple[list[Way], list[Way]]:
    """Return the ways to bound the difference from below (its opposite from above), and from above."""
    ours = UnitSums.of(candidate, design)
    if reference is None:
        below = [replace(way, share=min(2 * way.share, _MOST)) for way in upper_ways([(-1.0, ours)])]
        return below, upper_ways([(1.0, ours)])
    return _two_sided(ours, factor, UnitSums.of(reference, design))


def _two_sided(ours: UnitSums, factor: float, theirs: UnitSums) -> tuple[list[Way], list[Way]]:
    apart = _apart(1.0, ours, factor, theirs)
    return (
        [*upper_ways([(factor, theirs), (-1.0, ours)]), *apart],
        [*upper_ways([(1.0, ours), (-factor, theirs)]), *apart],
    )


@lru_cache(maxsize=8)
def _alone(n_items: int) -> Design:
    return Design(n_items)


def resampled_bounds(
    reference: tuple[float, Float64],
    candidate: tuple[float, Float64],
    *,
    factor: float = 1.0,
    level: float = 0.95,
    widening: float = 1.0,
) -> Bounds:
    """Return bounds of ``candidate - factor * reference`` for other metrics that noise biases upwards.

    Each model is its value and its values on shared resamples. The bias that the bootstrap adds once
    more shows how large the bias may be; models that move together share theirs. ``widening`` is for
    resamples of few clusters.
    """
    theirs = np.array([factor * reference[0]]), factor * reference[1][None]
    low, high = resampled_bounds_of_many(theirs, candidate, level=level, widening=widening)
    return float(low[0]), float(high[0])


def resampled_bounds_of_many(
    references: tuple[Float64, Float64],
    candidate: tuple[float, Float64],
    *,
    level: float = 0.95,
    widening: float = 1.0,
) -> tuple[Float64, Float64]:
    """Return :func:`resampled_bounds` against many: values ``(k,)``, on resamples ``(k, n_resamples)``."""
    (a, a_values), (b, b_values) = candidate, references
    differences = a_values - b_values
    spread, deviation = np.maximum(a_values.std(), b_values.std(axis=1)), differences.std(axis=1)
    apart = np.minimum(np.divide(deviation, spread, out=np.zeros_like(spread), where=spread > 0), 1.0)
    allowed = _BIAS_PER_BOOTSTRAP_BIAS * apart
    below = allowed * np.maximum(a_values.mean() - a, 0.0)
    above = allowed * np.maximum(b_values.mean(axis=1) - b, 0.0)
    tail = (1 - level) / 2
    low, high = np.quantile(differences, [tail, 1 - tail], axis=1) - differences.mean(axis=1)
    return a - b - below + widening * low, a - b + above + widening * high


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
    return float(scipy.optimize.brentq(bound, below, above, xtol=1e-9, rtol=1e-7))


def upper_bound(terms: Sequence[tuple[float, UnitSums]], level: float) -> float:
    """Return an upper bound of a weighted sum of metrics that are absolute sums."""
    return _least(upper_ways(terms), level)


def upper_ways(terms: Sequence[tuple[float, UnitSums]]) -> list[Way]:
    """Return the ways to bound a weighted sum of metrics that are absolute sums.

    A model that counts positively is corrected for the least bias, one that counts negatively for the
    most; for the latter coarser groups compete with its own.
    """
    fine = _way(terms)
    if all(weight > 0 for weight, _ in terms):  # nothing competes with it
        return [replace(fine, share=_ALONE_SHARE)]
    coarse = [(weight, sums.coarsened() if weight < 0 else sums) for weight, sums in terms]
    return [fine, replace(_way(coarse, coarse=True), skew=fine.skew)]


def _way(terms: Sequence[tuple[float, UnitSums]], *, coarse: bool = False) -> Way:
    """Return the bound that one choice of groups gives."""
    design = terms[0][1].design
    total, variance, short, corrected = 0.0, 0.0, 0.0, 0.0
    slopes, signs, left_over = [], [], []
    for weight, sums in terms:
        deviations, size = sums.deviations, np.abs(sums.totals)
        t = np.divide(size, deviations, out=np.full_like(size, _FAR), where=deviations > 0)
        bias = _least_bias if weight > 0 else _most_bias
        total += weight * float((size - deviations * bias(t)).sum())
        slope, rest = _errors(bias, t)
        signs.append((weight * np.sign(sums.totals), sums))
        slopes.append((weight * np.sign(sums.totals) * slope, sums))
        left_over.append(np.abs(weight) * deviations * np.sqrt(rest))
        variance += weight**2 * sums.added
        alone = (sums.counts == 1) & (weight < 0)
        if not (coarse and weight < 0):
            wanting = _wanting(t) * np.where(alone, _SHORT_ALONE, _SHORT)
            short += abs(weight) * float(wanting @ deviations)
            corrected += abs(weight) * float(deviations @ bias(t))
    bent = combined_variance(slopes) + sum(float(part @ part) for part in left_over)
    if len(terms) == 2 and not coarse:
        bent -= _shared(terms, left_over)
    variance += max(bent, 0.0)
    if coarse:
        return Way(total, variance, _COARSE_SHARE, design, short)
    share = float(_share(np.array(corrected + short), np.sqrt(np.array(variance))))
    return Way(total, variance, share, design, short, _skew(signs))


def _skew(terms: Sequence[tuple[Float64, UnitSums]], added: float = 0.0) -> float:
    """Return the third moment of the units' parts and ``added`` over the second, where a bound is too low.

    A sum of rare and large parts, all of one sign, shows little spread where it is small by chance.
    """
    parts = np.asarray(sum(sums.parts(weights) for weights, sums in terms))
    squares = float(parts @ parts) + added**2
    return max(float((parts**3).sum()) + added**3, 0.0) / squares if squares > 0 else 0.0


def _shared(terms: Sequence[tuple[float, UnitSums]], left_over: Sequence[Float64]) -> float:
    """What two models' bent errors share: they go together as the square of the sums' correlation."""
    (a, first), (b, second) = terms
    if a * b > 0 or len(first.counts) != len(second.counts):
        return 0.0
    scale = first.deviations * second.deviations
    correlation = np.divide(first.covariances(second), scale, out=np.zeros_like(scale), where=scale > 0)
    return float(2 * (np.clip(correlation, -1, 1) ** 2 * left_over[0] * left_over[1]).sum())


def _apart(first_factor: float, first: UnitSums, second_factor: float, second: UnitSums) -> list[Way]:
    """Return how far two models can lie apart, group by group, if their groups are the same.

    Models that hardly differ do so in few items, each by up to 1: one such item is added, and the skewness of
    the rest counts.
    """
    if len(first.coarse) != len(second.coarse):
        return []
    a, b = first_factor, second_factor
    unseen = first.design.unseen
    if a == b and first.same_as(second):
        return [Way(0.0, 0.0, _APART_SHARE, first.design)]
    difference = a * first.totals - b * second.totals
    crossed = first.covariances(second)
    deviations = np.sqrt(
        np.maximum(a**2 * first.empirical + b**2 * second.empirical - 2 * a * b * crossed, 0)
    )
    size = np.abs(difference)
    t = np.divide(size, deviations, out=np.full_like(size, _FAR), where=deviations > 0)
    slope, rest = _errors(_least_bias, t)
    signs = np.sign(difference)
    variance = combined_variance([(a * signs * slope, first), (-b * signs * slope, second)])
    variance += float(deviations**2 @ rest) + unseen**2
    short = unseen + _SHORT * float(_wanting(t) @ deviations)
    skew = _skew([(a * signs, first), (-b * signs, second)], added=unseen)
    centre = float((size - deviations * _least_bias(t)).sum())
    return [Way(centre, variance, _APART_SHARE, first.design, short, skew)]


def _wanting(t: Float64) -> Float64:
    """Return by how much of its most a corrected ``|t|`` may fall short: groups far from 0 need none."""
    return np.asarray(np.clip(2.5 - t / 2, 0.0, 1.0))


def _share(corrected: Float64, deviation: Float64) -> Float64:
    """Return the share of the error that the bound with fine groups gets.

    Where the sign of every group is beyond doubt it is a plain mean's, and the other ways hardly differ.
    """
    part = np.divide(corrected, deviation, out=np.full_like(corrected, _CORRECTED), where=deviation > 0)
    return np.asarray(_FINE_SHARE + (_MOST - _FINE_SHARE) * np.clip(1 - part / _CORRECTED, 0.0, 1.0))


def _least_bias(t: Float64) -> Float64:
    """Return the bias of ``|t|`` if ``t`` were the truth."""
    return np.asarray(2 * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi) - 2 * t * scipy.special.ndtr(-t))


def _most_bias(t: Float64) -> Float64:
    """Return more than the bias of ``|t|``, on average, whatever the truth."""
    return np.asarray(_HEIGHT * np.exp(-(t**2) / (2 * _WIDTH**2)))


def _errors(bias: Bias, t: Float64) -> tuple[Float64, Float64]:
    """Return how a corrected ``|t|`` varies where the truth is ``t``: slope, and variance left over."""
    grid, slopes, rests = _error_table(bias)
    return np.interp(t, grid, slopes), np.interp(t, grid, rests)


@lru_cache
def _error_table(bias: Bias) -> tuple[Float64, Float64, Float64]:
    """Integrate ``h(t) = |t| - bias(|t|)`` over noise: its covariance with the noise, and the rest."""
    noise = np.linspace(-8, 8, 1601)
    density = np.exp(-(noise**2) / 2)
    density /= density.sum()
    grid = np.linspace(0, 8, 161)
    size = np.abs(grid[:, None] + noise)
    values = size - bias(size)
    values = values - (values @ density)[:, None]
    slopes = values @ (density * noise)
    rests = np.maximum(values**2 @ density - slopes**2, 0.0)
    return np.asarray(grid), np.asarray(slopes), np.asarray(rests)
