"""The gate's bounds of thousands of draws at once, for simulations: what calbench.statistics does one by one.

Two models, 15 bins each. All that the bounds read of a draw are its sums per model and bin, their
covariances, and the variances that the confidences promise. ``check`` compares with the library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from calbench.metrics import Outcomes, get
from calbench.statistics import Design
from calbench.statistics import _bounds as library
from calbench.statistics._bounds import absolute_sum_bounds

N_BINS = 15
FIRST, SECOND = slice(0, N_BINS), slice(N_BINS, 2 * N_BINS)


@dataclass(frozen=True)
class Moments:
    """Sums ``(r, 30)`` of the candidate's and the reference's gaps by bin, and what goes with them."""

    sums: np.ndarray
    covariances: np.ndarray  # (r, 30, 30)
    promised: np.ndarray
    alone: np.ndarray  # bins of a single item
    n: int
    df: int | None = None

    @property
    def swapped(self) -> Moments:
        order = np.r_[N_BINS : 2 * N_BINS, 0:N_BINS]
        turned = self.covariances[:, order][:, :, order]
        return Moments(
            self.sums[:, order], turned, self.promised[:, order], self.alone[:, order], self.n, self.df
        )

    def quantile(self, tail: float) -> float:
        return float(ndtri(1 - tail) if self.df is None else stdtrit(self.df, 1 - tail))


def moments(candidate, reference, clusters=None) -> Moments:
    """Reduce answers, each a pair of confidences and correctness ``(r, n)``."""
    r, n = candidate[0].shape
    gaps = [confidences - correct for confidences, correct in (candidate, reference)]
    bins = [library_bins(confidences) for confidences, _ in (candidate, reference)]

    def add(places, weights, width):
        flat = (np.arange(r)[:, None] * width + places).ravel()
        return np.bincount(flat, weights=np.ravel(weights), minlength=r * width).reshape(r, width)

    def both(weights):
        return np.concatenate([add(b, w, N_BINS) for b, w in zip(bins, weights, strict=True)], axis=1)

    sums = both(gaps)
    promised = both([c * (1 - c) for c, _ in (candidate, reference)])
    alone = both([np.ones((r, n))] * 2) == 1
    if clusters is not None:
        n_clusters = int(clusters.max()) + 1
        parts = [add(clusters * N_BINS + b, g, n_clusters * N_BINS) for b, g in zip(bins, gaps, strict=True)]
        by_unit = np.concatenate([p.reshape(r, n_clusters, N_BINS) for p in parts], axis=2)
        sizes = np.bincount(clusters)
        by_unit -= sizes[:, None] * sums[:, None, :] / n
        covariances = np.einsum("rki,rkj->rij", by_unit, by_unit) * n_clusters / (n_clusters - 1)
        return Moments(sums, covariances, promised, alone, n, n_clusters - 1)
    covariances = np.zeros((r, 2 * N_BINS, 2 * N_BINS))
    diagonal = np.arange(2 * N_BINS)
    covariances[:, diagonal, diagonal] = both([g * g for g in gaps])
    crossed = add(bins[0] * N_BINS + bins[1], gaps[0] * gaps[1], N_BINS**2).reshape(r, N_BINS, N_BINS)
    covariances[:, FIRST, SECOND], covariances[:, SECOND, FIRST] = crossed, crossed.transpose(0, 2, 1)
    covariances -= sums[:, :, None] * sums[:, None, :] / n
    return Moments(sums, covariances, promised, alone, n)


def library_bins(confidences: np.ndarray) -> np.ndarray:
    from calbench.metrics._binning import uniform_bins

    return uniform_bins(confidences, N_BINS)


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
    centre, straight, bent, share, short, unnoticed, bend = way
    lax = min(1.0, (1 - level) / library._LAX)
    bend = 1 - (1 - bend) * lax
    deviation = np.sqrt(straight + bend * np.maximum(bent - straight, 0))
    short = np.maximum(0, short - unnoticed * lax * deviation)
    tail = (1 - level) / 2 * share * (library._REST + (1 - library._REST) * lax)
    return centre + short + m.quantile(tail) * deviation


def _ways(m: Moments):
    empirical = np.maximum(np.einsum("rii->ri", m.covariances), 0)
    variances = np.maximum(empirical, m.promised)
    deviations, added = np.sqrt(variances), variances - empirical
    signs = np.sign(m.sums)
    value, slope, rest = _corrected(m.sums[:, FIRST], deviations[:, FIRST], library._least_bias)
    short = library._SHORT * deviations[:, FIRST].sum(axis=1)

    low, its_slope, its_rest = _corrected(m.sums[:, SECOND], deviations[:, SECOND], library._most_bias)
    scale = deviations[:, FIRST] * deviations[:, SECOND]
    own = np.einsum("rii->ri", m.covariances[:, FIRST, SECOND])
    correlation = np.clip(np.divide(own, scale, out=np.zeros_like(own), where=scale > 0), -1, 1)
    bent = _quadratic(np.concatenate([signs[:, FIRST] * slope, -signs[:, SECOND] * its_slope], axis=1), m)
    bent += (rest**2 + its_rest**2 - 2 * correlation**2 * rest * its_rest).sum(axis=1)
    shares = np.where(m.alone[:, SECOND], library._SHORT_ALONE, library._SHORT)
    bent = np.maximum(bent, 0) + added.sum(axis=1)
    fine_short = short + (shares * deviations[:, SECOND]).sum(axis=1)
    fine = value - low, bent, bent, library._FINE_SHARE, fine_short, library._UNNOTICED, 1.0

    total = m.sums[:, SECOND].sum(axis=1, keepdims=True)
    spread = np.maximum(m.covariances[:, SECOND, SECOND].sum(axis=(1, 2)), 0)
    largest = np.maximum(spread, m.promised[:, SECOND].sum(axis=1))
    low, its_slope, its_rest = _corrected(total, np.sqrt(largest)[:, None], library._most_bias)
    sign = np.sign(total)
    ones = np.ones(N_BINS)
    straight = _quadratic(np.concatenate([signs[:, FIRST], -sign * ones], axis=1), m)
    bent = _quadratic(np.concatenate([signs[:, FIRST] * slope, -sign * its_slope * ones], axis=1), m)
    bent += (rest**2).sum(axis=1) + its_rest[:, 0] ** 2
    more = added[:, FIRST].sum(axis=1) + largest - spread
    straight, bent = np.maximum(straight, 0) + more, np.maximum(bent, 0) + more
    laxity = short, library._UNNOTICED_COARSE, library._COARSE_BEND
    coarse = value - low, straight, bent, library._COARSE_SHARE, *laxity

    difference = m.sums[:, FIRST] - m.sums[:, SECOND]
    turned = np.sign(difference)
    variance = np.maximum(_quadratic(np.concatenate([turned, -turned], axis=1), m), 0)
    apart = np.abs(difference).sum(axis=1), variance, variance, library._FINE_SHARE, 0.0, 0.0, 1.0
    return fine, coarse, apart


def _corrected(sums, deviations, bias):
    size = np.abs(sums)
    t = np.divide(size, deviations, out=np.full_like(size, library._FAR), where=deviations > 0)
    slope, rest = library._errors(bias, t)
    return (size - deviations * bias(t)).sum(axis=1), slope, deviations * np.sqrt(rest)


def _quadratic(weights, m: Moments):
    return np.matmul(weights[:, None, :], np.matmul(m.covariances, weights[:, :, None]))[:, 0, 0]


def check(candidate, reference, clusters=None, n_checked: int = 2) -> None:
    """Raise unless the first draws have the library's bounds."""
    ours = bounds(moments(candidate, reference, clusters))[:n_checked, 0]
    design = None if clusters is None else Design.of(len(clusters), clusters=clusters)
    for row in range(min(n_checked, len(ours))):
        pair = [
            get("ece").absolute_sums(Outcomes.from_top_label(c[row], k[row]))
            for c, k in (candidate, reference)
        ]
        np.testing.assert_allclose(ours[row], absolute_sum_bounds(*pair, design=design), atol=1e-9)
