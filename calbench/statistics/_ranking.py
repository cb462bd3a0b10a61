"""A leaderboard's noise: between which ranks each entry lies, and which entries truly differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calbench.errors import InputError
from calbench.records import Float64
from calbench.statistics._alarms import RESAMPLES_IN_TAIL, normal_tail
from calbench.statistics._contrasts import SMALLEST_P, smallest_p
from calbench.statistics._interval_formulas import check_level
from calbench.statistics._intervals import (
    Resampled,
    bounds_against,
    check_paired,
    difference_bounds,
)


@dataclass(frozen=True)
class Rank:
    """An entry's place: 1 is best; ties share the better place.

    Attributes
    ----------
    rank
        On the items themselves.
    interval
        Between which ranks it lies.
    """

    rank: int
    interval: tuple[int, int]


def rank_intervals(entries: Mapping[str, Resampled], *, level: float = 0.95) -> dict[str, Rank]:
    """Return each entry's rank with its interval, from metrics that were resampled together.

    The interval is the central share ``level`` of the ranks on the resamples. Resampling adds noise's
    bias to a calibration error once more, to some entries more than to others; so for metrics that
    noise biases, an entry's place is below those that the paired bounds show to be better, and above
    those that they show to be worse. An entry for which the metric is not defined comes last.

    Parameters
    ----------
    entries
        By name; one metric, one set of items, one :class:`calbench.statistics.Resamples`.
    level
        Of the intervals.

    References
    ----------
    Goldstein & Spiegelhalter, "League tables and their limitations", JRSS A 159 (1996).
    """
    tail = (1 - check_level(level)) / 2
    sign = _orientation(entries)
    ranks = _ranks(_last(sign * np.array([[entry.value] for entry in entries.values()])))[:, 0]
    if next(iter(entries.values())).metric.biased:
        low, high = _clear_places(list(entries.values()), sign, level)
    else:
        values = _last(sign * np.stack([entry.values for entry in entries.values()]))
        low, high = np.quantile(_ranks(values), [tail, 1 - tail], axis=1, method="inverted_cdf")
    return {
        name: Rank(int(rank), (int(min(a, rank)), int(max(b, rank))))
        for name, rank, a, b in zip(entries, ranks, low, high, strict=True)
    }


def differences_from_best(entries: Mapping[str, Resampled]) -> dict[str, float]:
    """Return the p-value, adjusted for many entries, that each entry is as good as the best one.

    The best entry itself is left out. Which one it is the same data said, so any pair might have
    been compared: p-values are multiplied by the number of pairs (Bonferroni). Before that each is
    :func:`p_value`'s; where that is bounded by the number of resamples, many entries need more of them.
    """
    sign = _orientation(entries)
    best = min(entries, key=lambda name: sign * entries[name].value)
    n_pairs = len(entries) * (len(entries) - 1) // 2
    return {
        name: min(1.0, n_pairs * p_value(entries[best], entry))
        for name, entry in entries.items()
        if name != best
    }


def p_value(reference: Resampled, candidate: Resampled) -> float:
    """Return the smallest p, from 0.0001 up, at which the paired bounds of the difference hold 0.

    Bounds that are quantiles of resamples are noise in the outermost tails: there the normal tail
    with the resamples' standard error is taken, if it is smaller. For biased metrics that are no
    absolute sums (smooth ECE, say) there is none: p is 20 / n_resamples at least.
    """
    check_paired(reference, candidate)
    p = smallest_p(lambda level: difference_bounds(reference, candidate, level=level))
    floor = 2 * RESAMPLES_IN_TAIL / candidate.n_resamples
    if p >= floor or candidate.sums is not None:
        return p
    if candidate.metric.biased:
        return floor
    tail = normal_tail(abs(candidate.value - reference.value), candidate.values - reference.values)
    return min(floor, max(tail, SMALLEST_P))


def _clear_places(entries: Sequence[Resampled], sign: int, level: float) -> tuple[Float64, Float64]:
    """Return the best and the worst rank that the bounds of all pairs leave to each entry."""
    better = np.zeros((len(entries), len(entries)), dtype=bool)
    for i, entry in enumerate(entries):
        ends = bounds_against(entries[i + 1 :], entry, level=level)
        low, high = np.sort(sign * np.stack(ends), axis=0)
        better[i, i + 1 :], better[i + 1 :, i] = high < 0, low > 0
    undefined = np.isnan([entry.value for entry in entries])
    either = undefined[:, None] | undefined
    np.fill_diagonal(either, val=False)
    better[either] = np.broadcast_to(undefined, either.shape)[either]
    return 1.0 + better.sum(axis=0), float(len(entries)) - better.sum(axis=1)


def _last(values: Float64) -> Float64:
    return np.where(np.isnan(values), np.inf, values)


def _ranks(values: Float64) -> Float64:
    return np.asarray(1.0 + (values[None, :, :] < values[:, None, :]).sum(axis=1))


def _orientation(entries: Mapping[str, Resampled]) -> int:
    if len(entries) < 2:
        raise InputError(f"a ranking needs at least 2 entries; there are {len(entries)}")
    first, *others = entries.values()
    for other in others:
        check_paired(first, other)
    if first.metric.direction == "none":
        raise InputError(f"neither way is better for {first.metric.id!r}, so it ranks nothing; choose 'ece'")
    return 1 if first.metric.direction == "lower" else -1
