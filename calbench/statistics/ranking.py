"""A leaderboard's noise: between which ranks each entry lies, and which entries truly differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calbench.arrays import Float64
from calbench.errors import InputError
from calbench.statistics.contrasts import smallest_p
from calbench.statistics.intervals import Resampled, check_level, check_paired, difference_bounds
from calbench.statistics.significance import holm


@dataclass(frozen=True)
class Rank:
    """An entry's place: 1 is best; ties share the better place.

    Attributes
    ----------
    rank
        On the items themselves.
    interval
        Smallest and largest rank on the central share ``level`` of the resamples.
    """

    rank: int
    interval: tuple[int, int]


def rank_intervals(entries: Mapping[str, Resampled], *, level: float = 0.95) -> dict[str, Rank]:
    """Return each entry's rank with its interval, from metrics that were resampled together.

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
    points = sign * np.array([[entry.value] for entry in entries.values()])
    values = sign * np.stack([entry.values for entry in entries.values()])
    low, high = np.quantile(_ranks(values), [tail, 1 - tail], axis=1, method="inverted_cdf")
    return {
        name: Rank(int(rank), (int(a), int(b)))
        for name, rank, a, b in zip(entries, _ranks(points)[:, 0], low, high, strict=True)
    }


def differences_from_best(entries: Mapping[str, Resampled]) -> dict[str, float]:
    """Return the p-value, Holm-adjusted, that each entry is as good as the best one.

    The best entry itself is left out. The p-value is the smallest at which the paired bounds of the
    difference still hold 0, from 0.0001 up; see :func:`calbench.statistics.difference`.
    """
    sign = _orientation(entries)
    best = min(entries, key=lambda name: sign * entries[name].value)
    return holm({name: p_value(entry, entries[best]) for name, entry in entries.items() if name != best})


def p_value(candidate: Resampled, reference: Resampled) -> float:
    """Return the smallest p, from 0.0001 up, at which the paired bounds of the difference hold 0."""
    check_paired(candidate, reference)
    return smallest_p(lambda level: difference_bounds(candidate, reference, level=level))


def _ranks(values: Float64) -> Float64:
    return np.asarray(1.0 + (values[None, :, :] < values[:, None, :]).sum(axis=1))


def _orientation(entries: Mapping[str, Resampled]) -> int:
    if len(entries) < 2:
        raise InputError(f"a ranking needs at least 2 entries; there are {len(entries)}")
    first, *others = entries.values()
    for other in others:
        check_paired(other, first)
    if first.metric.direction == "none":
        raise InputError(f"neither way is better for {first.metric.id!r}, so it ranks nothing; choose 'ece'")
    return 1 if first.metric.direction == "lower" else -1
