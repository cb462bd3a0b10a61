"""The gate: a metric got worse than a margin allows, did not, or there is too little data to tell."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.metrics import Metric
from calbench.records import AnyRecord, Predictions
from calbench.statistics._design import FEWEST_CLUSTERS
from calbench.statistics._interval_formulas import holding
from calbench.statistics._intervals import (
    Resampled,
    as_compared,
    check_paired,
    difference_bounds,
    own_bounds,
    relative_bounds,
)

Outcome = Literal["pass", "fail", "inconclusive"]
_POWER = 0.8


@dataclass(frozen=True)
class Change:
    """How a metric changed from a reference to a candidate, before anyone names a limit.

    Attributes
    ----------
    value
        ``candidate - reference``, or with ``relative`` that as a share of the reference; without a
        reference the metric's own value; of a contrast, its weighted sum.
    interval
        Of ``value``, at ``level``.
    n
        Number of items.
    metric, level, relative
        What was measured, and how.
    candidate_value, reference_value
        The metric of each side; None where there is no such side.
    lower_is_better
        Which way the metric is worse.
    sampling
        How the items were drawn, if not one by one: `` in 20 clusters, design effect 4.2``.
    """

    value: float
    interval: tuple[float, float]
    n: int
    metric: str
    level: float = 0.95
    relative: bool = False
    candidate_value: float | None = None
    reference_value: float | None = None
    lower_is_better: bool = True
    sampling: str = ""


def power(change: Change, limit: float, later: Iterable[tuple[int, float]]) -> float:
    r"""Return how likely further items are to decide what is undecided, at the best of the later looks.

    The value at :math:`n'` items, of which :math:`n` are known, is normal around the present value with the
    variance :math:`s^2 (1/n - 1/n')`: the true value is itself not known better than these items tell. That,
    and an interval whose width is all sampling, err on the side of asking. The interval's two sides go with
    :math:`\sqrt{n / n'}` and the level's quantile.

    Parameters
    ----------
    change
        What was measured.
    limit
        How much worse is accepted; see :func:`outcome_of`.
    later
        Of each later look, the items in all and the level of its interval.

    Returns
    -------
    float
        In [0, 1]; 1 where the interval tells nothing, and 0 without a later look.

    References
    ----------
    D. J. Spiegelhalter, L. S. Freedman and P. R. Blackburn, "Monitoring clinical trials: conditional or
    predictive power?", Controlled Clinical Trials 7 (1986).
    """
    margin, worse, low, high = _on_the_worse_side(change, limit)
    quantile = float(scipy.special.ndtri((1 + change.level) / 2))
    spread = (high - low) / 2 / quantile
    best = 0.0
    for n_items, level in later:
        if not 0 < spread < math.inf:
            return 1.0
        narrower = math.sqrt(change.n / n_items) * float(scipy.special.ndtri((1 + level) / 2)) / quantile
        moves = spread * math.sqrt(1 - change.n / n_items)
        passes = margin - worse - narrower * (high - worse)
        fails = worse - narrower * (worse - low) - margin
        best = max(best, float(scipy.special.ndtr(passes / moves) + scipy.special.ndtr(fails / moves)))
    return min(best, 1.0)


def outcome_of(change: Change, limit: float) -> tuple[Outcome, int | None]:
    """Return whether a change is shown to keep a limit, and the items needed to tell.

    Parameters
    ----------
    change
        What was measured.
    limit
        How much worse is accepted; of a metric's own value, its ceiling, or its floor where higher is
        better.

    Returns
    -------
    outcome
        ``"pass"``: shown to keep it; ``"fail"``: shown to exceed it; ``"inconclusive"``: the interval
        holds the limit.
    items_needed
        About how many items in all would decide it four times in five if the value stays what it is;
        None if it is decided, or if the value equals the limit. For calibration errors near 0, which
        fall as items are added, it is too few.
    """
    margin, worse, low, high = _on_the_worse_side(change, limit)
    n_items = change.n
    if high <= margin:
        return "pass", None
    if low > margin:
        return "fail", None
    # The interval's width goes with 1/sqrt(n); which side of it must clear the margin?
    distance = margin - worse
    half = high - worse if distance > 0 else worse - low
    if distance == 0 or not math.isfinite(half):
        return "inconclusive", None
    # An interval that ends at the limit decides at even odds; a little narrower, four times in five.
    quantiles = scipy.special.ndtri([_POWER, (1 + change.level) / 2])
    half *= 1 + float(quantiles[0] / quantiles[1])
    return "inconclusive", max(n_items + 1, math.ceil(n_items * (half / distance) ** 2))


def _on_the_worse_side(change: Change, limit: float) -> tuple[float, float, float, float]:
    """Return the limit, the value and its interval's ends, signed so that more is worse."""
    sign = 1 if change.lower_is_better else -1
    is_own_value = change.candidate_value is not None and change.reference_value is None
    low, high = sorted(sign * bound for bound in change.interval)
    return sign * limit if is_own_value else limit, sign * change.value, low, high


def change(
    reference: Resampled | None, candidate: Resampled, *, relative: bool = False, level: float = 0.95
) -> Change:
    """Measure how a metric changed from a reference, or without one, where it lies.

    Raises
    ------
    InputError
        The two were not resampled together.
    """
    if reference is None:
        delta, interval = candidate.value, own_bounds(candidate, level=level)
    else:
        check_paired(reference, candidate)
        reference = as_compared(reference, candidate)
        if relative:
            delta = _relative_change(reference.value, candidate.value)
            interval = relative_bounds(reference, candidate, level=level)
        else:
            delta = candidate.value - reference.value
            interval = difference_bounds(reference, candidate, level=level)
    low, high = holding(interval, delta)
    return Change(
        delta,
        (low + 0.0, high + 0.0),  # no -0.0
        candidate.n_items,
        candidate.metric.id,
        level,
        relative,
        candidate.value,
        None if reference is None else reference.value,
        candidate.metric.direction != "higher",
        _sampling(reference, candidate),
    )


def _sampling(reference: Resampled | None, candidate: Resampled) -> str:
    """Say in how many clusters the items lie, and how much less they tell for it."""
    design = candidate.design
    if design.clusters is None:
        return ""
    shown = f" in {design.n_units:,} clusters"
    if candidate.sums is not None:
        parts = candidate.sums.signed(np.sign(candidate.sums.sums()))
        if reference is not None and reference.sums is not None:
            parts = parts - reference.sums.signed(np.sign(reference.sums.sums()))
        shown += f", design effect {design.effect(parts):.1f}"
    return shown + (f" (fewer than {FEWEST_CLUSTERS} decide nothing)" if design.too_few else "")


def _relative_change(reference: float, candidate: float) -> float:
    if reference == 0:
        return 0.0 if candidate == 0 else math.inf
    return candidate / reference - 1


def sign_of_worse(metric: Metric) -> int:
    """Return 1 where a higher value is worse, -1 where a lower one is; refuse what has no direction."""
    if metric.direction == "none":
        raise InputError(f"neither way is better for {metric.id!r}, so it cannot be gated; choose 'ece'")
    return 1 if metric.direction == "lower" else -1


def check_same_items(reference: AnyRecord, candidate: AnyRecord) -> None:
    """Raise :class:`InputError` unless both records hold the same items, with the same labels and options."""
    ours: npt.NDArray[np.intp] = np.arange(len(candidate))
    theirs = ours
    if not np.array_equal(candidate.item_ids, reference.item_ids):  # sorting is most of the work
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
                f"item {str(ids[row])!r} has the label {reference.labels[theirs[row]]} in the reference and"
                f" {candidate.labels[ours[row]]} in the candidate;"
                f" {int(differ.sum())} of {len(ids)} differ: compare records of one data set"
            )
        _check_same_width(reference, candidate)
    _check_same_clusters(reference, candidate, theirs, ours)


def _check_same_clusters(
    reference: AnyRecord, candidate: AnyRecord, theirs: npt.NDArray[np.intp], ours: npt.NDArray[np.intp]
) -> None:
    if candidate.cluster_ids is None or reference.cluster_ids is None:
        return
    here, there = candidate.cluster_ids[ours], reference.cluster_ids[theirs]
    if (differ := here != there).any():
        row = int(np.argmax(differ))
        raise InputError(
            f"item {str(candidate.item_ids[ours[row]])!r} is of the cluster {str(there[row])!r} in the"
            f" reference and {str(here[row])!r} in the candidate; name the same cluster_id of both"
        )


def _check_same_width(reference: Predictions, candidate: Predictions) -> None:
    """Refuse different numbers of classes; columns that are padding throughout are none."""
    shared = min(candidate.n_classes, reference.n_classes)
    if any(np.isfinite(record.logits[:, shared:]).any() for record in (candidate, reference)):
        raise InputError(
            f"the reference has {reference.n_classes} classes and the candidate {candidate.n_classes};"
            " compare records of one task"
        )
