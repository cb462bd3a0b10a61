"""A metric on all resamples, and the intervals that follow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from calbench.errors import InputError
from calbench.metrics import AbsoluteSums, Metric, Outcomes, Statistic, evaluate_together, get, unweighted
from calbench.records import Float64, Predictions, TopLabelPredictions
from calbench.statistics._blocks import block_values, too_many
from calbench.statistics._bounds import absolute_sum_bounds, ratio_bounds, resampled_bounds
from calbench.statistics._design import Design
from calbench.statistics._resamples import Resamples, resamples_of
from calbench.statistics._unit_sums import UnitSums

_MAX_UNDEFINED = 0.05

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
    read = _Together([s for s, part in zip(statistics, sums, strict=True) if part is None], resamples)
    found: dict[str, Resampled] = {}
    for metric, statistic, part in zip(chosen, statistics, sums, strict=True):
        draw = partial(_Together([statistic], resamples), statistic) if part else partial(read, statistic)
        value = unweighted(statistic, len(items)) if own is None else float(statistic(own[:, None])[0])
        found[metric.id] = Resampled(
            metric,
            value,
            draw,
            len(items),
            resamples.n_resamples,
            resamples.design,
            part,
            resamples.fingerprint,
            answers,
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
    candidate: Resampled,
    reference: Resampled,
    level: float = 0.95,
    *,
    method: Literal["auto", "percentile"] = "auto",
) -> Estimate:
    """Return ``candidate - reference`` with its paired interval.

    ``"percentile"`` is the plain bootstrap's, as most papers print it. It is wrong for calibration
    errors, which noise biases upwards by an amount that need not be the same for both models;
    ``"auto"`` takes the gate's bounds for those and the percentile interval for all else.
    """
    check_paired(candidate, reference)
    reference = as_compared(candidate, reference)
    value = candidate.value - reference.value
    if method == "percentile":
        if candidate.metric.shared_groups:
            raise InputError(f"{candidate.metric.id!r} has no percentile interval; leave method out")
        interval = sampled_interval(candidate.values - reference.values, candidate.design, level)
    else:
        interval = difference_bounds(candidate, reference, level=level)
    return Estimate(value, holding(interval, value), level, candidate.n_items)


def as_compared(candidate: Resampled, reference: Resampled) -> Resampled:
    """Return the reference as it is compared: in the candidate's groups, if the metric asks for that."""
    if not candidate.metric.shared_groups or candidate.sums is None or reference.sums is None:
        return reference
    sums = reference.sums.on(candidate.sums)
    totals = UnitSums.of(sums, reference.design).totals
    return replace(reference, sums=sums, value=float(np.abs(totals).sum() / reference.n_items))


def difference_bounds(
    candidate: Resampled, reference: Resampled, *, factor: float = 1.0, level: float = 0.95
) -> tuple[float, float]:
    """Return bounds of ``candidate - factor * reference`` that allow for the metric's bias."""
    check_level(level)
    reference = as_compared(candidate, reference)
    same = bool(candidate.answers) and candidate.answers == reference.answers
    if candidate.design.too_few and not (same and factor == 1):
        return _anything(candidate.metric, factor)
    if candidate.sums is not None and reference.sums is not None:
        return absolute_sum_bounds(
            candidate.sums, reference.sums, factor=factor, level=level, design=candidate.design
        )
    if candidate.n_items == 1 and not same:
        return -np.inf, np.inf  # a resample of one item is that item
    if candidate.metric.biased:
        pair = (candidate.value, candidate.values), (reference.value, reference.values)
        return resampled_bounds(*pair, factor=factor, level=level, widening=widening(candidate.design, level))
    differences = candidate.values - factor * reference.values
    seen = sampled_interval(differences, candidate.design, level)
    if not candidate.metric.rate or (same and factor == 1):
        return seen
    value = candidate.value - factor * reference.value
    low, high = _hull(
        seen, rate_change_interval(value, differences, level, candidate.n_items, candidate.design)
    )
    return max(low, -factor), min(high, 1.0)


def relative_bounds(
    candidate: Resampled, reference: Resampled, *, level: float = 0.95
) -> tuple[float, float]:
    """Return bounds of ``candidate / reference - 1`` that allow for the metric's bias.

    A model that answers the same on every item has not changed.
    """
    if candidate.answers and candidate.answers == reference.answers:
        return 0.0, 0.0
    if candidate.design.too_few or (candidate.n_items == 1 and candidate.sums is None):
        return -1.0, np.inf
    if candidate.metric.biased or candidate.metric.rate:
        return ratio_bounds(lambda f: difference_bounds(candidate, reference, factor=f, level=level))
    nothing = np.where(candidate.values == 0, 1.0, np.inf)  # 0 / 0 is no change
    positive = reference.values > 0
    ratios = np.divide(candidate.values, reference.values, out=nothing, where=positive)
    undefined = np.isnan(candidate.values) | np.isnan(reference.values)
    return sampled_interval(np.where(undefined, np.nan, ratios) - 1, candidate.design, level)


def own_bounds(result: Resampled, *, level: float = 0.95) -> tuple[float, float]:
    """Return bounds of one model's metric that allow for its bias."""
    check_level(level)
    if result.n_items == 1 and result.sums is None:
        return result.metric.range
    if result.design.too_few:
        return result.metric.range
    if result.sums is not None:
        return absolute_sum_bounds(result.sums, None, level=level, design=result.design)
    if result.metric.biased:
        nothing = (0.0, np.zeros_like(result.values))
        low, high = resampled_bounds(
            (result.value, result.values), nothing, level=level, widening=widening(result.design, level)
        )
        return max(low, 0.0), high
    seen = sampled_interval(result.values, result.design, level)
    if not result.metric.rate:
        return seen
    return _hull(seen, rate_interval(result.value, level, _effective_size(result)))


def bootstrap(  # noqa: PLR0913 (all but the record have defaults)
    predictions: Predictions | TopLabelPredictions,
    metrics: Sequence[str | Metric] = ("ece", "nll"),
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: Method = "percentile",
    rng: np.random.Generator | Resamples,
    clusters: Iterable[object] | None = None,
    strata: Iterable[object] | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> dict[str, Estimate]:
    """Return metrics of a record with bootstrap confidence intervals.

    Parameters
    ----------
    predictions
        The record; the order of its rows changes nothing.
    metrics
        Ids, such as ``"ece[n_bins=20]"``, or metrics.
    n_resamples
        Number of resamples to draw, if ``rng`` is a generator. Where items times resamples exceed
        400 million, random blocks of items are drawn instead of single ones.
    level
        Of confidence, between 0 and 1.
    method
        ``"percentile"``; ``"bca"``: bias-corrected and accelerated, second-order accurate for
        smooth metrics, at one more evaluation per item; or ``"bounds"``: for calibration errors,
        which noise biases upwards, so that the other two miss the truth at small n.
    rng
        A generator, or the :class:`Resamples` to share with other estimates.
    clusters, strata : (n,), optional
        The sampled unit and the fixed group of each of the record's rows, as in :meth:`Resamples.draw`.
    sample_weight : (n,), optional
        What each of the record's rows counts.

    Returns
    -------
    dict
        An :class:`Estimate` by the metrics' ids.

    References
    ----------
    B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987).

    Examples
    --------
    >>> record = TopLabelPredictions(range(4), [0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    >>> estimate = bootstrap(record, ["accuracy"], rng=np.random.default_rng(0))["accuracy"]
    >>> estimate.value, estimate.interval
    (0.75, (0.25, 1.0))
    """
    if isinstance(metrics, str):
        raise InputError(f"metrics={metrics!r} is a string; pass a sequence of ids, such as ({metrics!r},)")
    items = Outcomes.from_record(predictions)
    alone = clusters is None and strata is None and sample_weight is None
    if alone and isinstance(rng, np.random.Generator) and too_many(len(items), n_resamples):
        if method == "bca":
            raise InputError(f"{len(items):,} items are too many for method='bca'; use 'percentile'")
        results = _resampled_blocks(metrics, items, n_resamples, rng)
    else:
        if method == "bca" and not alone:
            raise InputError("method='bca' takes no clusters, strata or weights; use 'percentile'")
        draw = resamples_of(
            predictions, rng, n_resamples, clusters=clusters, strata=strata, sample_weight=sample_weight
        )
        results = resample(metrics, items, draw)
    return {name: result.estimate(level, method=method, items=items) for name, result in results.items()}


def _resampled_blocks(
    metrics: Iterable[str | Metric], items: Outcomes, n_resamples: int, rng: np.random.Generator
) -> dict[str, Resampled]:
    """Evaluate metrics on resampled blocks, the same ones for every metric."""
    chosen = [get(metric) for metric in metrics]
    statistics = {metric.id: metric.weighted(items) for metric in chosen}
    values = block_values(statistics, len(items), n_resamples=n_resamples, rng=rng)
    return {
        metric.id: Resampled(
            metric,
            unweighted(statistics[metric.id], len(items)),
            partial(values.__getitem__, metric.id),
            len(items),
            n_resamples,
            Design(len(items)),
            metric.absolute_sums(items),
        )
        for metric in chosen
    }


def rate_interval(value: float, level: float, n_items: float) -> tuple[float, float]:
    """Return Wilson's interval of a share: all of ten items right is no proof of 1.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    z = float(ndtri((1 + level) / 2))
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
    z = float(ndtri((1 + level) / 2)) if design is None else design.quantile((1 + level) / 2)
    n_items = n_items if design is None else design.n_units
    n = n_items + 2
    differing = n_items * (n_items * float(np.nanvar(differences)) + value**2) + 1
    centre = n_items * value / n
    half = z * np.sqrt(max(differing / n - centre**2, 0.0) / n)
    return float(centre - half), float(centre + half)


def _hull(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return min(a[0], b[0]), max(a[1], b[1])


def holding(interval: tuple[float, float], value: float) -> tuple[float, float]:
    """Return the interval that also holds the value itself, where that is defined."""
    if not np.isfinite(value):
        return interval
    return min(interval[0], value), max(interval[1], value)


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


def widening(design: Design, level: float) -> float:
    """By how much an interval from resampled units must be wider: few of them vary less than they should."""
    if design.clusters is None:
        return 1.0
    share = (1 + level) / 2
    return (
        design.quantile(share) / float(ndtri(share)) * float(np.sqrt(design.n_units / (design.n_units - 1)))
    )


def sampled_interval(values: Float64, design: Design, level: float) -> tuple[float, float]:
    """Return the percentile interval; of clusters, which are few, Student's with their standard error."""
    if design.clusters is None:
        return percentile_interval(values, level)
    check_level(level)
    defined = _defined(values)
    half = float(defined.std()) * widening(design, level) * float(ndtri((1 + level) / 2))
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
    bias = ndtri(below)
    deviations = jackknife.mean() - jackknife
    spread = (deviations**2).sum()
    acceleration = (deviations**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + ndtri([tail, 1 - tail])
    low, high = np.quantile(defined, ndtr(bias + z / (1 - acceleration * z)))
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


def check_paired(candidate: Resampled, reference: Resampled) -> None:
    """Refuse to compare different metrics, or resamples that are not the same ones."""
    if candidate.metric.fingerprint != reference.metric.fingerprint:
        raise InputError(f"{candidate.metric.id!r} cannot be compared with {reference.metric.id!r}")
    shapes = candidate.n_resamples == reference.n_resamples and candidate.n_items == reference.n_items
    known = candidate.drawn and reference.drawn
    if not shapes or (known and candidate.drawn != reference.drawn):
        raise InputError("the two were not resampled together; use one Resamples object for both")
