"""The gate's bounds of thousands of draws at once, for simulations: what calbench.statistics does one by one.

Two models. All that the bounds read of a draw are its sums per model and group, their covariances, the
variances that the confidences promise, and how skewed the items' differences are. ``check`` compares with
the library.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtrit

from calbench.metrics import Outcomes, get
from calbench.metrics._binning import uniform_bins
from calbench.statistics import Design
from calbench.statistics import _bounds as library
from calbench.statistics._bounds import absolute_sum_bounds


@dataclass(frozen=True)
class Statistic:
    """A calibration error: how items are grouped, and whether the reference is on the candidate's groups."""

    n_bins: int = 15
    triangular: bool = False
    shared: bool = False

    @property
    def metric(self) -> str:
        name = "ece_shared_bins" if self.shared else "ece"
        options = [] if self.n_bins == (5 if self.shared else 15) else [f"n_bins={self.n_bins}"]
        return f"{name}[{','.join(options)}]" if options else name

    def groups(self, confidences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups of each item and the share that each gets, ``(slots, r, n)``."""
        if not self.triangular:
            return uniform_bins(confidences, self.n_bins)[None], np.ones((1, 1, 1))
        groups, shares = triangular_bins(confidences.ravel(), self.n_bins)
        return tuple(np.moveaxis(a.reshape(*confidences.shape, 2), 2, 0) for a in (groups, shares))


def triangular_bins(values, n_bins):
    """Return the two bins ``(n, 2)`` whose middles each value in [0, 1] lies between, and its shares of them.

    The share falls linearly from 1 at a bin's middle to 0 at the next one's, so that nothing leaps as a
    value crosses an edge. Beyond the outermost middles all goes to the outermost bin.
    """
    place = np.clip(values * n_bins - 0.5, 0.0, n_bins - 1.0)
    lower = np.minimum(place.astype(np.intp), max(n_bins - 2, 0))
    upper_share = place - lower
    groups = np.stack([lower, np.minimum(lower + 1, n_bins - 1)], axis=1)
    return groups, np.stack([1 - upper_share, upper_share], axis=1)


ECE = Statistic()
SHARED = Statistic(5, shared=True)


@dataclass(frozen=True)
class Moments:
    """Sums ``(r, 2 B)`` of the candidate's and the reference's gaps by group, and what goes with them."""

    sums: np.ndarray
    covariances: np.ndarray  # (r, 2 B, 2 B)
    promised: np.ndarray
    alone: np.ndarray  # groups of a single item
    squares: np.ndarray  # (r, 2): of the items' signed differences, in bounds of both models and of their
    cubes: np.ndarray  # difference
    n: int
    df: int | None = None

    @property
    def sides(self) -> tuple[slice, slice]:
        b = self.sums.shape[1] // 2
        return slice(0, b), slice(b, 2 * b)

    @property
    def swapped(self) -> Moments:
        order = np.roll(np.arange(self.sums.shape[1]), self.sums.shape[1] // 2)
        turned = {k: getattr(self, k)[:, order] for k in ("sums", "promised", "alone")}
        turned |= {"covariances": self.covariances[:, order][:, :, order], "cubes": self.cubes * [-1, 1]}
        return replace(self, **turned)

    def quantile(self, tail):
        return ndtri(1 - tail) if self.df is None else stdtrit(self.df, 1 - tail)


def moments(candidate, reference, clusters=None, statistic: Statistic = ECE) -> Moments:
    """Reduce answers, each a pair of confidences and correctness ``(r, n)``."""
    r, n = candidate[0].shape
    width = statistic.n_bins
    gaps = [confidences - correct for confidences, correct in (candidate, reference)]
    on = (candidate[0], candidate[0] if statistic.shared else reference[0])
    found = [statistic.groups(confidences) for confidences in on]
    bins = [groups for groups, _ in found]
    parts = [shares * gap for (_, shares), gap in zip(found, gaps, strict=True)]
    rows = np.arange(r)[:, None]

    def add(places, weights, width):
        flat = (rows * width + places).ravel()
        return np.bincount(flat, weights=np.ravel(weights), minlength=r * width).reshape(r, width)

    def each(places, weights, width=width):
        slots = zip(places, np.broadcast_to(weights, (len(places), r, n)), strict=True)
        return sum(add(p, w, width) for p, w in slots)

    sums = np.concatenate([each(b, p) for b, p in zip(bins, parts, strict=True)], axis=1)
    doubts = [s**2 * c * (1 - c) for (_, s), (c, _) in zip(found, (candidate, reference), strict=True)]
    promised = np.concatenate([each(b, d) for b, d in zip(bins, doubts, strict=True)], axis=1)
    alone = np.concatenate([each(b, np.ones((r, n))) == 1 for b in bins], axis=1)
    apart = np.sign(sums[:, :width] - sums[:, width:])
    own, its = np.sign(sums[:, :width]), np.sign(sums[:, width:])
    signed = [
        sum(
            turn * np.take_along_axis(signs, place, axis=1) * part
            for turn, signs, b, p in zip((1, -1), pair, bins, parts, strict=True)
            for place, part in zip(b, p, strict=True)
        )
        for pair in ((own, its), (apart, apart))
    ]
    if clusters is not None:
        n_clusters = int(clusters.max()) + 1
        wide = n_clusters * width
        by_unit = [each(clusters * width + b, p, wide) for b, p in zip(bins, parts, strict=True)]
        by_unit = np.concatenate([p.reshape(r, n_clusters, width) for p in by_unit], axis=2)
        signed = [add(np.broadcast_to(clusters, (r, n)), s, n_clusters) for s in signed]
        sizes = np.bincount(clusters)
        by_unit -= sizes[:, None] * sums[:, None, :] / n
        covariances = np.einsum("rki,rkj,k->rij", by_unit, by_unit, 1 / (1 - sizes / n), optimize=True)
        df = Design.of(n, clusters=clusters).freedom
    else:
        covariances, df = np.zeros((r, 2 * width, 2 * width)), None
        for i, one in enumerate(zip(bins, parts, strict=True)):
            for j, other in enumerate(zip(bins, parts, strict=True)):
                crossed = sum(
                    add(b * width + d, p * q, width**2)
                    for b, p in zip(*one, strict=True)
                    for d, q in zip(*other, strict=True)
                )
                place = slice(i * width, (i + 1) * width), slice(j * width, (j + 1) * width)
                covariances[:, place[0], place[1]] = crossed.reshape(r, width, width)
        covariances -= sums[:, :, None] * sums[:, None, :] / n
    squares, cubes = (np.stack([(s**k).sum(axis=1) for s in signed], axis=1) for k in (2, 3))
    return Moments(sums, covariances, promised, alone, squares, cubes, n, df)


def bounds(moments: Moments, levels=(0.95,)) -> np.ndarray:
    """Return bounds of candidate less reference, ``(r, n_levels, 2)``, as the library makes them."""
    ways = [_ways(turned) for turned in (moments, moments.swapped)]
    found = []
    for level in levels:
        high, low = (np.min([_at(way, moments, level) for way in each], axis=0) for each in ways)
        widest = _at(ways[0][2], moments, level)
        crossed = -low > high
        found.append(np.stack([np.where(crossed, -widest, -low), np.where(crossed, widest, high)], axis=1))
    return np.stack(found, axis=1) / moments.n


def _at(way, m: Moments, level: float) -> np.ndarray:
    centre, variance, share, short, skew = way
    lax = min(1.0, (1 - level) / library._LAX)
    z = m.quantile((1 - level) / 2 * share * (library._REST + (1 - library._REST) * lax))
    return centre + short + z * np.sqrt(variance) + np.maximum(z**2 - 1, 0) / 3 * skew


def _ways(m: Moments):
    first, second = m.sides
    empirical = np.maximum(np.einsum("rii->ri", m.covariances), 0)
    variances = np.maximum(empirical, m.promised)
    deviations, added = np.sqrt(variances), variances - empirical
    signs = np.sign(m.sums)
    value, slope, rest = _corrected(m.sums[:, first], deviations[:, first], library._least_bias)
    wanting = library._wanting(np.abs(m.sums) / np.where(deviations > 0, deviations, 1)) * deviations
    short = library._SHORT * wanting[:, first].sum(axis=1)

    low, its_slope, its_rest = _corrected(m.sums[:, second], deviations[:, second], library._most_bias)
    scale = deviations[:, first] * deviations[:, second]
    own = np.einsum("rii->ri", m.covariances[:, first, second])
    correlation = np.clip(np.divide(own, scale, out=np.zeros_like(own), where=scale > 0), -1, 1)
    bent = _quadratic(np.concatenate([signs[:, first] * slope, -signs[:, second] * its_slope], axis=1), m)
    bent += (rest**2 + its_rest**2 - 2 * correlation**2 * rest * its_rest).sum(axis=1)
    shares = np.where(m.alone[:, second], library._SHORT_ALONE, library._SHORT)
    bent = np.maximum(bent, 0) + added.sum(axis=1)
    skew = np.maximum(m.cubes[:, 0], 0) / np.maximum(m.squares[:, 0], 1e-12)
    fine_short = short + (shares * wanting[:, second]).sum(axis=1)
    bias = np.abs(m.sums).sum(axis=1) - value - low
    corrected = bias + fine_short
    fine = value - low, bent, library._share(corrected, np.sqrt(bent)), fine_short, skew

    total = m.sums[:, second].sum(axis=1, keepdims=True)
    spread = np.maximum(m.covariances[:, second, second].sum(axis=(1, 2)), 0)
    largest = np.maximum(spread, m.promised[:, second].sum(axis=1))
    low, its_slope, its_rest = _corrected(total, np.sqrt(largest)[:, None], library._most_bias)
    sign = np.sign(total)
    ones = np.ones(m.sums.shape[1] // 2)
    bent = _quadratic(np.concatenate([signs[:, first] * slope, -sign * its_slope * ones], axis=1), m)
    bent += (rest**2).sum(axis=1) + its_rest[:, 0] ** 2
    more = added[:, first].sum(axis=1) + largest - spread
    coarse = value - low, np.maximum(bent, 0) + more, library._COARSE_SHARE, short, skew
    return fine, coarse, _apart(m, empirical, own)


def _apart(m: Moments, empirical, own):
    first, second = m.sides
    difference = m.sums[:, first] - m.sums[:, second]
    deviations = np.sqrt(np.maximum(empirical[:, first] + empirical[:, second] - 2 * own, 0))
    centre, slope, rest = _corrected(difference, deviations, library._least_bias)
    turned = np.sign(difference) * slope
    variance = np.maximum(_quadratic(np.concatenate([turned, -turned], axis=1), m), 0)
    variance += (rest**2).sum(axis=1) + 1
    t = np.abs(difference) / np.where(deviations > 0, deviations, 1)
    short = 1 + library._SHORT * (library._wanting(t) * deviations).sum(axis=1)
    skew = np.maximum(m.cubes[:, 1] + 1, 0) / (m.squares[:, 1] + 1)
    return centre, variance, library._APART_SHARE, short, skew


def _corrected(sums, deviations, bias):
    size = np.abs(sums)
    t = np.divide(size, deviations, out=np.full_like(size, library._FAR), where=deviations > 0)
    slope, rest = library._errors(bias, t)
    return (size - deviations * bias(t)).sum(axis=1), slope, deviations * np.sqrt(rest)


def _quadratic(weights, m: Moments):
    return np.matmul(weights[:, None, :], np.matmul(m.covariances, weights[:, :, None]))[:, 0, 0]


def check(candidate, reference, clusters=None, n_checked: int = 2, statistic: Statistic = ECE) -> None:
    """Raise unless the first draws have the library's bounds; it has no triangular bins."""
    if statistic.triangular:
        return
    ours = bounds(moments(candidate, reference, clusters, statistic))[:n_checked, 0]
    design = None if clusters is None else Design.of(len(clusters), clusters=clusters)
    metric = get(statistic.metric)
    for row in range(min(n_checked, len(ours))):
        first, second = (
            metric.absolute_sums(Outcomes.from_top_label(c[row], k[row])) for c, k in (candidate, reference)
        )
        if statistic.shared:
            second = second.on(first)
        np.testing.assert_allclose(ours[row], absolute_sum_bounds(second, first, design=design), atol=1e-9)
