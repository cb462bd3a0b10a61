"""The bootstrap of a record: metrics with their intervals, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy.typing as npt

from calbench.errors import InputError
from calbench.metrics import Metric, Outcomes, get, unweighted
from calbench.records import Predictions, TopLabelPredictions
from calbench.seeds import SEED, Seed
from calbench.statistics._blocks import block_values, too_many
from calbench.statistics._design import Design
from calbench.statistics._intervals import Estimate, Method, Resampled, resample
from calbench.statistics._resamples import Resamples, resamples_for


def bootstrap(  # noqa: PLR0913 (all but the record have defaults)
    predictions: Predictions | TopLabelPredictions,
    metrics: Sequence[str | Metric] = ("ece", "nll"),
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: Method = "percentile",
    seed: Seed = SEED,
    resamples: Resamples | None = None,
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
        Number of resamples to draw. Where items times resamples exceed
        400 million, random blocks of items are drawn instead of single ones.
    level
        Of confidence, between 0 and 1.
    method
        ``"percentile"``; ``"bca"``: bias-corrected and accelerated, second-order accurate for
        smooth metrics, at one more evaluation per item; or ``"bounds"``: for calibration errors,
        which noise biases upwards, so that the other two miss the truth at small n.
    seed
        Of the resamples, which are those of :func:`calbench.compare` for the same items.
    resamples
        What is shared with other estimates, in the place of all that says how items are drawn.
    clusters, strata : (n,), optional
        The sampled unit and the fixed group of each of the record's rows, as in :meth:`Resamples.draw`.
    sample_weight : (n,), optional
        What each of the record's rows counts.

    Returns
    -------
    dict
        An :class:`Estimate` by the metrics' ids.

    Raises
    ------
    InputError
        A metric is not defined on these items or not known, the resamples are of other items, the seed is
        none, or ``"bca"`` is asked of clusters, strata, weights or very many items.

    References
    ----------
    B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987).

    Examples
    --------
    >>> record = TopLabelPredictions(range(4), [0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    >>> estimate = bootstrap(record, ["accuracy"], seed=0)["accuracy"]
    >>> estimate.value, estimate.interval
    (0.75, (0.25, 1.0))
    """
    if isinstance(metrics, str):
        raise InputError(f"metrics={metrics!r} is a string; pass a sequence of ids, such as ({metrics!r},)")
    items = Outcomes.from_record(predictions)
    if resamples is not None:
        if not (clusters is None and strata is None and sample_weight is None):
            raise InputError(
                "the resamples say how items were drawn; pass clusters, strata and weights to them"
            )
        resamples.check(predictions)
    else:
        clusters = predictions.cluster_ids if clusters is None else clusters
        alone = clusters is None and strata is None and sample_weight is None
        if alone and too_many(len(items), n_resamples):
            if method == "bca":
                raise InputError(f"{len(items):,} items are too many for method='bca'; use 'percentile'")
            found = _resampled_blocks(metrics, items, n_resamples, seed)
            return {name: _estimate(result, level, method, items) for name, result in found.items()}
        resamples = resamples_for(
            predictions.item_ids,
            n_resamples=n_resamples,
            seed=seed,
            clusters=clusters,
            strata=strata,
            sample_weight=sample_weight,
        )
    results = resample(metrics, items, resamples)
    return {name: _estimate(result, level, method, items) for name, result in results.items()}


def _estimate(result: Resampled, level: float, method: Method, items: Outcomes) -> Estimate:
    try:
        return result.estimate(level, method=method, items=items)
    except InputError as error:
        raise InputError(f"{result.metric.id}: {error}") from error


def _resampled_blocks(
    metrics: Iterable[str | Metric], items: Outcomes, n_resamples: int, seed: Seed
) -> dict[str, Resampled]:
    """Evaluate metrics on resampled blocks, the same ones for every metric."""
    chosen = [get(metric) for metric in metrics]
    statistics = {metric.id: metric.weighted(items) for metric in chosen}
    values = block_values(statistics, len(items), n_resamples=n_resamples, seed=seed)
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
