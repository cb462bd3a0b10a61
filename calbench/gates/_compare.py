"""A comparison of two models' answers, from arrays or records."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from calbench.errors import CalbenchError, InputError
from calbench.gates._arms import NamedArms, no_arm
from calbench.gates._bits import warn_of_order
from calbench.gates._comparison import LEVEL, N_RESAMPLES, Comparison
from calbench.gates._fitted_split import Arm, clusters_of, metrics_of
from calbench.metrics import Outcomes
from calbench.records import AnyRecord, Predictions, TopLabelPredictions
from calbench.seeds import SEED, Seed
from calbench.statistics import check_same_items, resamples_for


def compare(  # noqa: PLR0913 (all but the two sides have defaults)
    reference: npt.ArrayLike | AnyRecord,
    candidate: npt.ArrayLike | AnyRecord,
    labels: npt.ArrayLike | None = None,
    *,
    clusters: Iterable[object] | None = None,
    strata: Iterable[object] | None = None,
    sample_weight: npt.ArrayLike | None = None,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: Seed = SEED,
) -> Comparison:
    """Put a candidate's answers beside a reference's: the arms ``reference`` and ``candidate``.

    Parameters
    ----------
    reference, candidate
        Logits (or log-probabilities) ``(n, k)`` of the same items in the same order, with
        ``labels``; or two records, whose rows are matched by item id.
    labels : (n,) int
        The right classes, from 0, for logits only.
    clusters : (n,), optional
        What was sampled with each row of the reference: its passage, document or question; by default what
        the records say. Fewer than ten clusters decide nothing.
    strata : (n,), optional
        The fixed group of each row of the reference, where all groups that there are have been asked.
    sample_weight : (n,), optional
        What each row of the reference counts.
    level, n_resamples, seed
        Of the intervals.

    Raises
    ------
    InputError
        The arrays or records do not belong together.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> fp32 = 2 * rng.normal(size=(2000, 2))
    >>> labels = (rng.random(2000) < 1 / (1 + np.exp(fp32[:, 0] - fp32[:, 1]))).astype(int)
    >>> both = compare(fp32, fp32 + 0.01 * rng.normal(size=fp32.shape), labels)
    >>> both.require("ece", "brier", max_increase=0.02).require("accuracy", at_least=0.6) is both
    True
    >>> compare(fp32, 3 * fp32, labels).require("ece", max_increase=0.02)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    calbench.errors.GateFailedError: ece got worse by more than the margin +0.02
    ...
    """
    first, second = _records(reference, candidate, labels)
    check_same_items(first, second)
    if clusters is None and (known := clusters_of(first, second)):
        clusters = [known[item] for item in first.item_ids.tolist()]
    warn_of_order(first, second)
    resamples = resamples_for(
        first.item_ids,
        n_resamples=n_resamples,
        seed=seed,
        clusters=clusters,
        strata=strata,
        sample_weight=sample_weight,
    )
    least = (r for r in (first, second) if isinstance(r, TopLabelPredictions) or r.label_distribution is None)
    metrics = metrics_of(min(least, key=lambda r: isinstance(r, Predictions), default=first))
    made = {
        name: Arm(Outcomes.from_record(record), resamples, metrics)
        for name, record in (("reference", first), ("candidate", second))
    }

    def arm(name: str) -> Arm:
        if name not in made:
            raise no_arm(name, made)
        return made[name]

    arms = NamedArms(tuple(made), arm)
    return Comparison(arms, level=level, n_test=len(first), metrics=metrics)


def _records(
    reference: npt.ArrayLike | AnyRecord, candidate: npt.ArrayLike | AnyRecord, labels: npt.ArrayLike | None
) -> tuple[AnyRecord, AnyRecord]:
    if isinstance(reference, Predictions | TopLabelPredictions):
        if isinstance(candidate, Predictions | TopLabelPredictions):
            if labels is not None:
                raise InputError("records bring their own labels; leave labels out")
            return reference, candidate
    elif not isinstance(candidate, Predictions | TopLabelPredictions):
        if labels is None:
            raise InputError("labels are missing: pass compare(reference_logits, candidate_logits, labels)")
        return _record(reference, labels, "reference"), _record(candidate, labels, "candidate")
    raise InputError("one side is a record and the other is not; pass two records, or two arrays of logits")


def _record(logits: npt.ArrayLike, labels: npt.ArrayLike, side: str) -> Predictions:
    values = np.asarray(logits)
    try:
        return Predictions(range(len(np.atleast_1d(values))), values, labels)
    except CalbenchError as error:
        raise InputError(f"{side}: {error}") from None
