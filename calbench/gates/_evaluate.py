"""Metrics of one record, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from calbench.metrics import Metric
from calbench.records import AnyRecord
from calbench.seeds import SEED, Seed
from calbench.statistics import Estimate, Method, bootstrap


def evaluate(
    record: AnyRecord,
    metrics: Sequence[str | Metric] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: Seed = SEED,
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
    return bootstrap(record, chosen, level=level, n_resamples=n_resamples, method=method, seed=seed)
