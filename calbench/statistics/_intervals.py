"""A metric on all resamples, and the intervals that follow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np

from calbench.errors import InputError
from calbench.metrics import (
    AbsoluteSums,
    Metric,
    Outcomes,
    PairStatistic,
    Statistic,
    evaluate_together,
    get,
    unweighted,
)
from calbench.records import Float64
from calbench.statistics._bounds import (
    absolute_sum_bounds,
    ratio_bounds,
    resampled_bounds,
    resampled_bounds_of_many,
)
from calbench.statistics._design import Design
from calbench.statistics._interval_formulas import (
    bca_interval,
    check_level,
    holding,
    hull,
    leave_one_out,
    rate_change_interval,
    rate_interval,
    sampled_interval,
    widening,
)
from calbench.statistics._pairs import pair_bounds
from calbench.statistics._resamples import Resamples
from calbench.statistics._unit_sums import UnitSums

Method = Literal["percentile", "bca", "bounds"]


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval.

    Attributes
    ----------
    value
        The metric (or difference) on the items themselves.
    interval
        Lower and upper bound.
    level
        Share of such intervals that should hold the true value.
    n
        Number of items; 0 where it is not known.
    """

    value: float
    interval: tuple[float, float]
    level: float = 0.95
    n: int = 0


@dataclass(frozen=True, eq=False)
class Resampled:
    """One metric of one model on the items and on all resamples of them.

    Two of these over the same :class:`Resamples` are paired.

    Attributes
    ----------
    metric
        What was measured.
    value
        On the items themselves.
    draw
        Evaluates the metric on each resample, ``(n_resamples,)``: called when ``values`` is first read.
    n_items, n_resamples
        Number of items, and of resamples.
    design
        How the items were drawn.
    sums
        The metric as sums of absolute values, if it is one; the gate's bounds read it, and no resamples.
    pairs
        The metric as a mean over pairs of items, if it is one and items were drawn one by one: its bounds
        read them.
    drawn, answers
        Fingerprints of the resamples, and of each item's confidence and correctness, where known.
    """

    metric: Metric
    value: float
    draw: Callable[[], Float64] = field(repr=False)
    n_items: int
    n_resamples: int
    design: Design = field(repr=False)
    sums: AbsoluteSums | None = field(default=None, repr=False)
    drawn: str = ""
    answers: str = ""
    pairs: PairStatistic | None = field(default=None, repr=False)

    @classmethod
    def of_values(cls, metric: Metric, value: float, values: Float64, n_items: int) -> Resampled:
        """Make one of values that were kept, of items that were drawn one by one."""
        return cls(metric, value, lambda: values, n_items, len(values), Design(n_items))

    @cached_property
    def values(self) -> Float64:
        """The metric on each resample, ``(n_resamples,)``."""
        return self.draw()

    def estimate(
        self, level: float = 0.95, *, method: Method = "percentile", items: Outcomes | None = None
    ) -> Estimate:
        """Return the value with its interval.

        Parameters
        ----------
        level
            Of confidence.
        method
            ``"percentile"``; ``"bca"``, which needs the items; or ``"bounds"``: the gate's, which
            allow for the upward bias of calibration errors.
        items
            What was measured, for ``"bca"``.
        """
        if method == "percentile":
            interval = sampled_interval(self.values, self.design, level)
        elif method == "bounds":
            interval = own_bounds(self, level=level)
        elif method == "bca" and items is not None:
            if not self.design.plain:
                raise InputError("method='bca' takes no clusters, strata or weights; use 'percentile'")
            jackknife = leave_one_out(self.metric.weighted(items), len(items))
            interval = bca_interval(self.value, self.values, jackknife, level)
        else:
            raise InputError(f"method={method!r}; use 'percentile', 'bca' (with items) or 'bounds'")
        return Estimate(self.value, holding(interval, self.value), level, self.n_items)


def resample(metrics: Iterable[str | Metric], items: Outcomes, resamples: Resamples) -> dict[str, Resampled]:
    """Evaluate metrics on items and on all resamples of them, in one pass over the weights.

    Parameters
    ----------
    metrics
        Ids or metrics.
    items
        The answers, in the sorted order of the ids (:meth:`Outcomes.from_record` sees to that).
    resamples
        Of the same items.

    Returns
    -------
    dict
        By the metrics' ids.
    """
    if len(items) != len(resamples):
        raise InputError(f"there are {len(items)} items but the resamples are of {len(resamples)}")
    chosen = [get(metric) for metric in metrics]
    statistics = [metric.weighted(items) for metric in chosen]
    answers = hashlib.sha256(items.confidences.tobytes() + items.correct.tobytes()).hexdigest()
    own = resamples.design.weights
    sums = [metric.absolute_sums(items) for metric in chosen]
    pairs = [s if isinstance(s, PairStatistic) and resamples.design.plain else None for s in statistics]
    alone = [part or pair for part, pair in zip(sums, pairs, strict=True)]
    read = _Together([s for s, part in zip(statistics, alone, strict=True) if part is None], resamples)
    found: dict[str, Resampled] = {}
    for place, (metric, statistic) in enumerate(zip(chosen, statistics, strict=True)):
        by_itself = alone[place] is not None
        draw = partial(_Together([statistic], resamples) if by_itself else read, statistic)
        value = unweighted(statistic, len(items)) if own is None else float(statistic(own[:, None])[0])
        found[metric.id] = Resampled(
            metric,
            value,
            draw,
            len(items),
            resamples.n_resamples,
            resamples.design,
            sums[place],
            resamples.fingerprint,
            answers,
            pairs[place],
        )
    return found


@dataclass(frozen=True, eq=False)
class _Together:
    """Statistics that are evaluated in one pass over the resamples, once one of them is read."""

    statistics: Sequence[Statistic]
    resamples: Resamples

    @cached_property
    def vectors(self) -> list[Float64]:
        return evaluate_together(self.statistics, self.resamples.weights, self.resamples.totals)

    def __call__(self, statistic: Statistic) -> Float64:
        return next(v for s, v in zip(self.statistics, self.vectors, strict=True) if s is statistic)


def difference(
    reference: Resampled,
    candidate: Resampled,
    level: float = 0.95,
    *,
    method: Literal["auto", "percentile"] = "auto",
) -> Estimate:
    """Return ``candidate - reference`` with its paired interval.

    ``"percentile"`` is the plain bootstrap's, as most papers print it. It is wrong for calibration
    errors, which noise biases upwards by an amount that need not be the same for both models;
    ``"auto"`` takes the gate's bounds for those and the percentile interval for all else.

    Raises
    ------
    InputError
        The two are not of one metric, or were not resampled together.
    """
    check_paired(reference, candidate)
    reference = as_compared(reference, candidate)
    value = candidate.value - reference.value
    if method == "percentile":
        if candidate.metric.shared_groups:
            raise InputError(f"{candidate.metric.id!r} has no percentile interval; leave method out")
        interval = sampled_interval(candidate.values - reference.values, candidate.design, level)
    else:
        interval = difference_bounds(reference, candidate, level=level)
    return Estimate(value, holding(interval, value), level, candidate.n_items)


def as_compared(reference: Resampled, candidate: Resampled) -> Resampled:
    """Return the reference as it is compared: in the candidate's groups, if the metric asks for that."""
    if not candidate.metric.shared_groups or candidate.sums is None or reference.sums is None:
        return reference
    sums = reference.sums.on(candidate.sums)
    totals = UnitSums.of(sums, reference.design).totals
    return replace(reference, sums=sums, value=float(np.abs(totals).sum() / reference.n_items))


def difference_bounds(
    reference: Resampled, candidate: Resampled, *, factor: float = 1.0, level: float = 0.95
) -> tuple[float, float]:
    """Return bounds of ``candidate - factor * reference`` that allow for the metric's bias.

    They lie where two values of the metric's range can.
    """
    check_level(level)
    reference = as_compared(reference, candidate)
    same = bool(candidate.answers) and candidate.answers == reference.answers
    anything = _anything(candidate.metric, factor)
    if candidate.design.too_few and not (same and factor == 1):
        return anything
    return _within(anything, _difference_bounds(reference, candidate, factor, level, same=same))


def _difference_bounds(
    reference: Resampled, candidate: Resampled, factor: float, level: float, *, same: bool
) -> tuple[float, float]:
    exact = _exact_bounds(reference, candidate, factor, level)
    if exact is not None:
        return exact
    if candidate.n_items == 1 and not same:
        return -np.inf, np.inf  # a resample of one item is that item
    if candidate.metric.biased:
        pair = (reference.value, reference.values), (candidate.value, candidate.values)
        return resampled_bounds(*pair, factor=factor, level=level, widening=widening(candidate.design, level))
    differences = candidate.values - factor * reference.values
    seen = sampled_interval(differences, candidate.design, level)
    if not candidate.metric.rate or (same and factor == 1):
        return seen
    value = candidate.value - factor * reference.value
    return hull(seen, rate_change_interval(value, differences, level, candidate.n_items, candidate.design))


def bounds_against(
    references: Sequence[Resampled], candidate: Resampled, *, level: float = 0.95
) -> tuple[Float64, Float64]:
    """Return :func:`difference_bounds` against each of many references, ``(k,)`` and ``(k,)``."""
    everyone = [candidate, *references]
    drawn = all(one.sums is None and one.pairs is None for one in everyone) and candidate.n_items > 1
    if not references or not candidate.metric.biased or candidate.design.too_few or not drawn:
        found = [difference_bounds(reference, candidate, level=level) for reference in references]
        low, high = np.array(found).reshape(-1, 2).T
        return low, high
    theirs = np.array([one.value for one in references]), np.stack([one.values for one in references])
    wide = widening(candidate.design, level)
    own = candidate.value, candidate.values
    low, high = resampled_bounds_of_many(theirs, own, level=level, widening=wide)
    limits = _anything(candidate.metric, 1.0)
    return np.clip(low, *limits), np.clip(high, *limits)


def _exact_bounds(
    reference: Resampled, candidate: Resampled, factor: float, level: float
) -> tuple[float, float] | None:
    """Return bounds that need no resamples, where the metric is such that there are any."""
    if candidate.sums is not None and reference.sums is not None:
        return absolute_sum_bounds(
            reference.sums, candidate.sums, factor=factor, level=level, design=candidate.design
        )
    if candidate.pairs is not None and reference.pairs is not None:
        return pair_bounds(reference.pairs, candidate.pairs, factor=factor, level=level)
    return None


def relative_bounds(
    reference: Resampled, candidate: Resampled, *, level: float = 0.95
) -> tuple[float, float]:
    """Return bounds of ``candidate / reference - 1`` that allow for the metric's bias.

    A model that answers the same on every item has not changed.
    """
    if candidate.answers and candidate.answers == reference.answers:
        return 0.0, 0.0
    if candidate.design.too_few or (candidate.n_items == 1 and candidate.sums is None):
        return -1.0, np.inf
    if candidate.metric.biased or candidate.metric.rate:
        return ratio_bounds(lambda f: difference_bounds(reference, candidate, factor=f, level=level))
    nothing = np.where(candidate.values == 0, 1.0, np.inf)  # 0 / 0 is no change
    positive = reference.values > 0
    ratios = np.divide(candidate.values, reference.values, out=nothing, where=positive)
    undefined = np.isnan(candidate.values) | np.isnan(reference.values)
    return sampled_interval(np.where(undefined, np.nan, ratios) - 1, candidate.design, level)


def own_bounds(result: Resampled, *, level: float = 0.95) -> tuple[float, float]:
    """Return bounds of one model's metric, within its range, that allow for its bias."""
    check_level(level)
    return _within(result.metric.range, _own_bounds(result, level))


def _own_bounds(result: Resampled, level: float) -> tuple[float, float]:
    if result.design.too_few or (result.n_items == 1 and result.sums is None):
        return result.metric.range
    if result.sums is not None:
        return absolute_sum_bounds(None, result.sums, level=level, design=result.design)
    if result.pairs is not None:
        return pair_bounds(None, result.pairs, level=level)
    if result.metric.biased:
        nothing = (0.0, np.zeros_like(result.values))
        low, high = resampled_bounds(
            nothing, (result.value, result.values), level=level, widening=widening(result.design, level)
        )
        return low, high
    seen = sampled_interval(result.values, result.design, level)
    if not result.metric.rate:
        return seen
    return hull(seen, rate_interval(result.value, level, _effective_size(result)))


def _within(limits: tuple[float, float], bounds: tuple[float, float]) -> tuple[float, float]:
    """Return bounds cut at limits; NaN stays."""
    low, high = np.clip(bounds, *limits)
    return float(low), float(high)


def _anything(metric: Metric, factor: float) -> tuple[float, float]:
    """Return bounds of a difference of which nothing is known."""
    low, high = metric.range
    return low - factor * high, high - factor * low


def _effective_size(result: Resampled) -> float:
    """Return how many independent items would show a share's spread."""
    if result.design.plain:
        return result.n_items
    spread = float(np.nanvar(result.values))
    alone = result.value * (1 - result.value)
    return min(alone / spread, result.n_items) if spread > 0 and alone > 0 else result.design.n_units


def check_paired(reference: Resampled, candidate: Resampled) -> None:
    """Refuse to compare different metrics, or resamples that are not the same ones."""
    if candidate.metric.fingerprint != reference.metric.fingerprint:
        raise InputError(f"{candidate.metric.id!r} cannot be compared with {reference.metric.id!r}")
    shapes = candidate.n_resamples == reference.n_resamples and candidate.n_items == reference.n_items
    known = candidate.drawn and reference.drawn
    if not shapes or (known and candidate.drawn != reference.drawn):
        raise InputError("the two were not resampled together; use one Resamples object for both")
