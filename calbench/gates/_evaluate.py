"""Metrics of one record, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calbench.metrics import Metric
from calbench.records import AnyRecord
from calbench.statistics import SEED, Estimate, Method, bootstrap, resamples_for, too_many


def evaluate(
    record: AnyRecord,
    metrics: Sequence[str | Metric] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = SEED,
    method: Method = "bounds",
) -> dict[str, Estimate]:
    """Return metrics of a record with their intervals: of calibration errors those that gates use.

    Parameters
    ----------
    record
        Answers of one model; the order of its rows changes nothing.
    metrics
        Ids, such as ``"ece[n_bins=20]"``, or metrics; without them, what the record has enough for.
    level
        Of confidence, between 0 and 1.
    n_resamples, seed
        Of the bootstrap. The resamples are those of :func:`calbench.compare` for the same items.
    method
        Of the intervals, as in :func:`calbench.statistics.bootstrap`.

    Returns
    -------
    dict
        An :class:`calbench.statistics.Estimate` by the metrics' ids.

    Raises
    ------
    InputError
        A metric needs the probability of every class, and the record keeps only the top answer's.

    Examples
    --------
    >>> from calbench.records import TopLabelPredictions
    >>> record = TopLabelPredictions(range(4), [0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    >>> evaluate(record, ["accuracy"])["accuracy"].value
    0.75
    """
    from calbench.gates import metrics_of

    chosen = metrics_of(record) if metrics is None else metrics
    if too_many(len(record), n_resamples):
        rng = np.random.default_rng(seed)
        return bootstrap(record, chosen, level=level, n_resamples=n_resamples, method=method, rng=rng)
    draw = resamples_for(record.item_ids, n_resamples=n_resamples, seed=seed, clusters=record.cluster_ids)
    return bootstrap(record, chosen, level=level, method=method, rng=draw)
