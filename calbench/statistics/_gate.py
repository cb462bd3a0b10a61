"""The gate: a metric got worse than a margin allows, did not, or there is too little data to tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calbench.errors import InputError
from calbench.metrics import Metric, Outcomes, get
from calbench.records import AnyRecord, Predictions
from calbench.statistics._intervals import (
    Resampled,
    check_paired,
    difference_bounds,
    holding,
    own_bounds,
    relative_bounds,
    resample,
)
from calbench.statistics._resamples import Resamples, resamples_of

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class GateDecision:
    """What a gate decided, and from what.

    Attributes
    ----------
    outcome
        ``"pass"``: shown to be within the margin; ``"fail"``: shown to exceed it;
        ``"inconclusive"``: the interval holds the margin.
    delta
        ``candidate - reference``; with ``relative``, divided by the reference. For a ceiling, the
        metric's own value.
    interval
        Of ``delta``, at ``level``.
    items_needed
        About how many items would decide it if ``delta`` stays what it is; None if it is decided,
        or if ``delta`` equals the margin. For calibration errors near 0, which fall as items are
        added, it is far too few.
    metric, margin, relative, level, n
        What was asked, and the number of items it was asked of.
    candidate_value, reference_value
        The metric of each model; a ceiling has no reference.
    """

    outcome: Outcome
    delta: float
    interval: tuple[float, float]
    items_needed: int | None
    metric: str
    margin: float
    relative: bool
    level: float
    n: int
    candidate_value: float
    reference_value: float | None = None


def compare(
    candidate: AnyRecord,
    reference: AnyRecord,
    *,
    metric: str | Metric = "ece",
    margin: float = 0.0,
    relative: bool = False,
    level: float = 0.95,
    n_resamples: int = 2000,
    rng: np.random.Generator | Resamples,
) -> GateDecision:
    """Decide whether a candidate's metric is worse than the reference's by more than a margin.

    Items are matched by id, and both records are resampled together. "Worse" follows the metric's
    direction: an increase of ``ece``, a decrease of ``accuracy``.

    Parameters
    ----------
    candidate, reference
        Records of the same items; for class vectors, with the same labels.
    metric
        Id or metric; it must have a direction.
    margin
        How much worse is still accepted, in the metric's unit; with ``relative``, as a share of the
        reference's value (0.05 is 5%). A negative margin asks for an improvement of that size.
    relative
        Whether the margin is a share.
    level
        Of the interval.
    n_resamples
        Number of resamples to draw, if ``rng`` is a generator.
    rng
        A generator, or the :class:`Resamples` to share with other comparisons.

    Raises
    ------
    InputError
        The items or labels differ, or the metric has no direction.

    Examples
    --------
    >>> from calbench import TopLabelPredictions
    >>> rng = np.random.default_rng(0)
    >>> sure = rng.uniform(0.6, 1.0, 5000)
    >>> right = rng.random(5000) < sure
    >>> reference = TopLabelPredictions(range(5000), sure, right)
    >>> candidate = TopLabelPredictions(range(5000), np.minimum(sure + 0.1, 1), right)
    >>> compare(candidate, reference, metric="ece", margin=0.02, rng=rng).outcome
    'fail'
    """
    chosen = get(metric)
    check_same_items(candidate, reference)
    resamples = resamples_of(reference, rng, n_resamples)
    pair = [
        resample([chosen], Outcomes.from_record(record), resamples)[chosen.id]
        for record in (candidate, reference)
    ]
    return decide(*pair, margin=margin, relative=relative, level=level)


def ceiling(
    record: AnyRecord,
    *,
    metric: str | Metric = "ece",
    maximum: float,
    level: float = 0.95,
    n_resamples: int = 2000,
    rng: np.random.Generator | Resamples,
) -> GateDecision:
    """Decide whether a metric is at most ``maximum`` (at least, if higher is better).

    Parameters are those of :func:`compare`; ``delta`` is the metric's own value.
    """
    chosen = get(metric)
    resamples = resamples_of(record, rng, n_resamples)
    result = resample([chosen], Outcomes.from_record(record), resamples)[chosen.id]
    return decide_ceiling(result, maximum=maximum, level=level)


@dataclass(frozen=True)
class Change:
    """What was measured of a metric, before anyone names a margin.

    Attributes
    ----------
    metric
        Its id.
    delta
        ``candidate - reference``, or the relative change; without a reference, the metric's value.
    interval
        Of ``delta``, at ``level``.
    relative, level, n
        How it was measured, and of how many items.
    candidate_value, reference_value
        The metric of each model; None without a reference.
    lower_is_better
        Which way the metric is worse.
    """

    metric: str
    delta: float
    interval: tuple[float, float]
    relative: bool
    level: float
    n: int
    candidate_value: float
    reference_value: float | None = None
    lower_is_better: bool = True

    def judge(self, limit: float) -> GateDecision:
        """Return the decision for a margin; without a reference, for a ceiling (or floor)."""
        if not math.isfinite(limit):
            name = "maximum" if self.reference_value is None else "margin"
            raise InputError(f"{name}={limit}; use a finite number")
        sign = 1 if self.lower_is_better else -1
        margin = sign * limit if self.reference_value is None else limit
        outcome, items_needed = _outcome(self.delta, self.interval, margin, sign, self.n)
        return GateDecision(
            outcome,
            self.delta,
            self.interval,
            items_needed,
            self.metric,
            limit,
            self.relative,
            self.level,
            self.n,
            self.candidate_value,
            self.reference_value,
        )


def decide(
    candidate: Resampled,
    reference: Resampled,
    *,
    margin: float = 0.0,
    relative: bool = False,
    level: float = 0.95,
) -> GateDecision:
    """Decide :func:`compare`'s question for metrics that are already resampled together."""
    return change(candidate, reference, relative=relative, level=level).judge(margin)


def decide_ceiling(result: Resampled, *, maximum: float, level: float = 0.95) -> GateDecision:
    """Decide :func:`ceiling`'s question for a metric that is already resampled."""
    return change(result, None, level=level).judge(maximum)


def change(
    candidate: Resampled, reference: Resampled | None, *, relative: bool = False, level: float = 0.95
) -> Change:
    """Measure how a metric changed from a reference, or without one, where it lies.

    Raises
    ------
    InputError
        The two were not resampled together, or the metric has no direction.
    """
    lower_is_better = sign_of_worse(candidate.metric) > 0
    if reference is None:
        delta, interval = candidate.value, own_bounds(candidate, level=level)
    else:
        check_paired(candidate, reference)
        if relative:
            delta = _relative_change(candidate.value, reference.value)
            interval = relative_bounds(candidate, reference, level=level)
        else:
            delta = candidate.value - reference.value
            interval = difference_bounds(candidate, reference, level=level)
    low, high = holding(interval, delta)
    return Change(
        candidate.metric.id,
        delta,
        (low + 0.0, high + 0.0),  # no -0.0
        relative,
        level,
        candidate.n_items,
        candidate.value,
        None if reference is None else reference.value,
        lower_is_better,
    )


def _outcome(
    delta: float, interval: tuple[float, float], margin: float, sign: int, n_items: int
) -> tuple[Outcome, int | None]:
    low, high = sorted(sign * bound for bound in interval)
    worse = sign * delta
    if high <= margin:
        return "pass", None
    if low > margin:
        return "fail", None
    # The interval's width goes with 1/sqrt(n); which side of it must clear the margin?
    distance = margin - worse
    half = high - worse if distance > 0 else worse - low
    if distance == 0 or not math.isfinite(half):
        return "inconclusive", None
    return "inconclusive", max(n_items + 1, math.ceil(n_items * (half / distance) ** 2))


def _relative_change(candidate: float, reference: float) -> float:
    if reference == 0:
        return 0.0 if candidate == 0 else math.inf
    return candidate / reference - 1


def sign_of_worse(metric: Metric) -> int:
    """Return 1 where a higher value is worse, -1 where a lower one is; refuse what has no direction."""
    if metric.direction == "none":
        raise InputError(f"neither way is better for {metric.id!r}, so it cannot be gated; choose 'ece'")
    return 1 if metric.direction == "lower" else -1


def check_same_items(candidate: AnyRecord, reference: AnyRecord) -> None:
    """Raise :class:`InputError` unless both records hold the same items, with the same labels and options."""
    ours, theirs = np.argsort(candidate.item_ids), np.argsort(reference.item_ids)
    ids, expected = candidate.item_ids[ours], reference.item_ids[theirs]
    if len(ids) != len(expected) or (ids != expected).any():
        odd = sorted(set(ids.tolist()) ^ set(expected.tolist()))
        raise InputError(
            f"the records hold different items ({len(odd)} are in one only, such as {odd[0]!r});"
            " take() the ids they share"
        )
    if isinstance(candidate, Predictions) and isinstance(reference, Predictions):
        differ = candidate.labels[ours] != reference.labels[theirs]
        if differ.any():
            row = int(np.argmax(differ))
            raise InputError(
                f"item {str(ids[row])!r} has another label in the candidate"
                f" ({candidate.labels[ours[row]]}) than in the reference ({reference.labels[theirs[row]]});"
                f" {int(differ.sum())} of {len(ids)} differ: compare records of one data set"
            )
        _check_same_width(candidate, reference)


def _check_same_width(candidate: Predictions, reference: Predictions) -> None:
    """Refuse different numbers of classes; columns that are padding throughout are none."""
    shared = min(candidate.n_classes, reference.n_classes)
    if any(np.isfinite(record.logits[:, shared:]).any() for record in (candidate, reference)):
        raise InputError(
            f"the candidate has {candidate.n_classes} classes and the reference {reference.n_classes};"
            " compare records of one task"
        )
