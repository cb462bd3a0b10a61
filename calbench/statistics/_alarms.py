"""Many gates at once: how many may fail by chance, and which failures survive a correction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import scipy

from calbench.records import Float64
from calbench.statistics._contrasts import SMALLEST_P, Terms, contrast_bounds
from calbench.statistics._gate import Change, change, outcome_of, sign_of_worse
from calbench.statistics._intervals import Resampled
from calbench.statistics._significance import holm

_SMALLEST_P = 1e-12
# Below this many resamples in a tail its quantile is mostly noise.
RESAMPLES_IN_TAIL = 10


def expected_false_alarms(levels: Iterable[float]) -> float:
    """Return how many gates may be expected to fail by chance, at most.

    A gate whose candidate truly keeps the margin fails with a chance of at most 1 - level.

    >>> round(expected_false_alarms([0.95] * 40), 9)
    2.0
    """
    return sum(1 - level for level in levels)


def exceedance_p_value(
    reference: Resampled | None, candidate: Resampled, *, limit: float, relative: bool = False
) -> float:
    """Return the smallest p at which a gate of level ``1 - p`` still fails; 1 if none does.

    Where the interval comes from resamples, their number bounds how small a p they can show; beyond
    that the normal tail with their standard error is taken, if it is smaller, from where the
    allowance for bias leaves the value. A relative change of a biased metric has no such tail.
    """
    sign = sign_of_worse(candidate.metric)

    def at(p: float) -> Change:
        return change(reference, candidate, relative=relative, level=1 - p)

    def fails(p: float) -> bool:
        return outcome_of(at(p), limit)[0] == "fail"

    from_resamples = candidate.sums is None or (reference is not None and reference.sums is None)
    floor = max(2 * RESAMPLES_IN_TAIL / candidate.n_resamples, _SMALLEST_P) if from_resamples else _SMALLEST_P
    if not fails(1 - 1e-9):
        return 1.0
    if fails(floor):
        if candidate.metric.biased and from_resamples:
            return (
                floor
                if relative
                else min(floor, _allowed_tail(reference, candidate, at(floor), limit, floor))
            )
        return min(floor, _plain_tail(reference, candidate, sign, limit, relative=relative))
    return _smallest(fails, floor)


def contrast_exceedance(terms: Terms, *, limit: float) -> float:
    """Return the smallest p, from 0.0001 up, at which a contrast is still shown to exceed a limit.

    Of a metric that is better when it is higher, that it falls below ``-limit``; 1 if it never is.
    """
    sign = sign_of_worse(terms[0][1].metric)

    def fails(p: float) -> bool:
        return min(sign * bound for bound in contrast_bounds(terms, 1 - p)) > limit

    if not fails(1 - 1e-9):
        return 1.0
    return SMALLEST_P if fails(SMALLEST_P) else _smallest(fails, SMALLEST_P)


def _smallest(fails: Callable[[float], bool], floor: float) -> float:
    below, above = floor, 1 - 1e-9
    while above - below > 1e-3 * below:
        middle = float(np.sqrt(below * above))
        below, above = (below, middle) if fails(middle) else (middle, above)
    return above


def normal_tail(distance: float, values: Float64) -> float:
    """Return the two-sided p-value of a distance, from 1e-12 up, with resamples' spread as its error."""
    spread = float(np.nanstd(values))
    return max(float(2 * scipy.special.ndtr(-distance / spread)), _SMALLEST_P) if spread > 0 else _SMALLEST_P


def survivors(p_values: Mapping[str, float], levels: Mapping[str, float]) -> set[str]:
    """Return the failures that stay so after Holm's correction over all gates.

    ``p_values`` are those of every gate, 1 for one that did not fail.
    """
    if not p_values:
        return set()
    return {name for name, p in holm(p_values).items() if p <= 1 - levels[name]}


def _allowed_tail(
    reference: Resampled | None, candidate: Resampled, measured: Change, limit: float, floor: float
) -> float:
    """Tail of a metric for whose bias a gate allows; ``measured`` is the change at level 1 - floor.

    Its bound, moved back by the sampling error in it, is the value less what was allowed.
    """
    values = candidate.values if reference is None else candidate.values - reference.values
    centre = float(np.nanmean(values))
    if sign_of_worse(candidate.metric) > 0:
        distance = measured.interval[0] - limit + centre - float(np.nanquantile(values, floor / 2))
    else:
        margin = limit if reference is None else -limit
        distance = margin - measured.interval[1] + float(np.nanquantile(values, 1 - floor / 2)) - centre
    return normal_tail(distance, values)


def _plain_tail(
    reference: Resampled | None, candidate: Resampled, sign: int, limit: float, *, relative: bool
) -> float:
    if reference is None:
        values, value, margin = candidate.values, candidate.value, limit
    elif relative:
        values = candidate.values - (1 + sign * limit) * reference.values
        value, margin = candidate.value - (1 + sign * limit) * reference.value, 0.0
    else:
        values, value = candidate.values - reference.values, candidate.value - reference.value
        margin = sign * limit
    return normal_tail(sign * (value - margin), values)
