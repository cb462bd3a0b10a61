"""One model's items divided into what calibrators are fitted on and what is scored, and the fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from calbench import calibrators
from calbench.calibrators import CalibrationContext, Calibrator, FittedCalibrator
from calbench.errors import InputError, LeakageError
from calbench.metrics import Metric, Outcomes, evaluate, get
from calbench.records import AnyRecord, Bool, Float64, Predictions, TopLabelPredictions
from calbench.seeds import SEED, Seed, seed_number
from calbench.statistics import Resampled, Resamples, resample

CALIBRATION_SHARE = 0.4
VECTOR_METRICS = ("ece", "nll", "brier", "accuracy")
TOP_LABEL_METRICS = ("ece", "brier_toplabel", "accuracy")
SOFT_METRICS = ("soft_ece", "cross_entropy", "expected_brier")


@dataclass(frozen=True)
class Split:
    """Ids of the calibration split (what calibrators are fitted on) and the test split."""

    calibration: tuple[str, ...]
    test: tuple[str, ...]


def split_items(
    item_ids: Sequence[str],
    *,
    n_calibration: int | None = None,
    seed: Seed = SEED,
    clusters: Mapping[str, str] | None = None,
) -> Split:
    """Divide items into calibration and test splits by a seeded permutation: the one division there is.

    Parameters
    ----------
    item_ids
        In any order.
    n_calibration
        How many to fit on; by default 40%.
    seed
        Of the permutation.
    clusters
        The cluster of each item, if there are any: whole ones are taken, until as many items are fitted on
        as come nearest to what is wanted.

    Raises
    ------
    InputError
        A split would be empty.

    Examples
    --------
    >>> len(split_items([str(i) for i in range(10)]).calibration)
    4
    """
    wanted = round(CALIBRATION_SHARE * len(item_ids)) if n_calibration is None else n_calibration
    if not 0 < wanted < len(item_ids):
        raise InputError(
            f"cannot take {wanted} calibration items out of {len(item_ids)}: that leaves a split empty"
        )
    ids, number = sorted(item_ids), seed_number(seed)
    if clusters:
        return _split_clusters(ids, wanted, number, clusters)
    order = np.random.default_rng(number).permutation(len(ids))
    return Split(tuple(ids[i] for i in order[:wanted]), tuple(ids[i] for i in order[wanted:]))


def _split_clusters(ids: Sequence[str], wanted: int, seed: int, clusters: Mapping[str, str]) -> Split:
    names = sorted({clusters[item] for item in ids})
    if len(names) < 2:
        raise InputError(f"all {len(ids)} items are of the cluster {names[0]!r}, which cannot be divided")
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    counts = Counter(clusters[item] for item in ids)
    reached = np.cumsum([counts[name] for name in shuffled[:-1]])
    fitted = set(shuffled[: int(np.argmin(np.abs(reached - wanted))) + 1])
    parts = [tuple(item for item in ids if (clusters[item] in fitted) is side) for side in (True, False)]
    return Split(parts[0], parts[1])


def clusters_of(*records: AnyRecord) -> dict[str, str] | None:
    """Return the cluster of each item, by the first of the records that says so; None where none does."""
    for record in records:
        if record.cluster_ids is not None:
            return dict(zip(record.item_ids.tolist(), record.cluster_ids.tolist(), strict=True))
    return None


@dataclass(frozen=True, eq=False)
class Arm:
    """One set of probabilities of the test items.

    Parameters
    ----------
    outcomes
        The answers, in the order of the sorted ids.
    resamples
        Of the items.
    metrics
        Ids of what reports show: measured together when one of them is asked for.
    fitted
        The calibrator that made the probabilities, if one did.
    """

    outcomes: Outcomes
    resamples: Resamples
    metrics: tuple[str, ...] = ()
    fitted: FittedCalibrator | None = field(default=None, repr=False)
    _measured: dict[str, Resampled] = field(default_factory=dict, repr=False)

    @cached_property
    def values(self) -> dict[str, float]:
        """Each metric of a report on the items themselves."""
        return {name: evaluate(name, self.outcomes) for name in self.metrics}

    def resampled(self, metric: str | Metric) -> Resampled:
        """Return any metric on the items and on all resamples."""
        wanted = get(metric)
        found = self._measured.get(wanted.id)
        if found is None or found.metric is not wanted:
            together = self.metrics if wanted.id in self.metrics and found is None else ()
            fresh = resample(together or [wanted], self.outcomes, self.resamples)
            self._measured.update(fresh)
            found = fresh[wanted.id]
        return found


@runtime_checkable
class ConfidenceCalibrator(Protocol):
    """A calibrator that can be fitted on top-1 confidences alone."""

    def fit_confidences(self, confidences: Float64, correct: Bool) -> Any:
        """Return what maps confidences: it has ``confidences(values)``."""
        ...


@dataclass(frozen=True, eq=False)
class FittedSplit:
    """One model at one precision: its calibration and test items, and what was fitted on the former.

    Raw and calibrated arms are measured once, however many comparisons use them.

    Parameters
    ----------
    calibration, test
        Disjoint records; ``calibration`` is None where nothing is fitted, and ``test`` has the items of
        ``resamples``.
    metrics
        Ids of what reports show.
    resamples
        Of the test items.
    epsilon
        Unit error of the precision, for calibrators that want it; None if unknown.
    fit_seed
        Every fit gets a fresh generator with this seed.
    """

    calibration: AnyRecord | None
    test: AnyRecord
    metrics: tuple[str, ...]
    resamples: Resamples
    epsilon: float | None = None
    fit_seed: int = SEED
    _fits: dict[str, FittedCalibrator] = field(default_factory=dict, repr=False)
    _arms: dict[str, Arm] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        record: AnyRecord,
        split: Split,
        *,
        resamples: Resamples,
        metrics: Sequence[str] | None = None,
        epsilon: float | None = None,
        fit_seed: int = SEED,
    ) -> FittedSplit:
        """Divide a record of either kind, each part in the sorted order of the ids.

        Raises
        ------
        LeakageError
            The parts overlap.
        """
        shared = set(split.calibration) & set(split.test)
        if shared:
            raise LeakageError(
                f"{len(shared)} items are both fitted on and scored, {min(shared)!r} first;"
                " take them out of one of the two"
            )
        return cls(
            record.take(sorted(split.calibration)) if split.calibration else None,
            record.take(sorted(split.test)),
            metrics_of(record) if metrics is None else tuple(metrics),
            resamples,
            epsilon,
            fit_seed,
        )

    @property
    def n_calibration(self) -> int:
        """How many items calibrators are fitted on."""
        return 0 if self.calibration is None else len(self.calibration)

    @property
    def n_folds(self) -> int:
        """In how many folds calibrators are cross-fitted; 1 where there is one split."""
        return 1

    @cached_property
    def raw(self) -> Arm:
        """The model as it is."""
        test = self.test
        return self._arm(test.probs if isinstance(test, Predictions) else test.confidences)

    def with_test(self, test: AnyRecord, resamples: Resamples) -> FittedSplit:
        """Return the same fits with other test items, in the sorted order of their ids."""
        return replace(self, test=test, resamples=resamples, _arms={})

    def fitted(self, name: str, method: Calibrator) -> FittedCalibrator:
        """Return the method fitted on the calibration items; refuse one that they do not allow."""
        if name not in self._fits:
            self._fits[name] = self._fit(name, method)
        return self._fits[name]

    def calibrated(self, name: str, method: Calibrator) -> Arm:
        """Return the model with the method fitted on its own calibration items."""
        if name not in self._arms:
            self._arms[name] = self.applied(self.fitted(name, method))
        return self._arms[name]

    def applied(self, fitted: Any) -> Arm:
        """Return the model's test items with a fit, wherever it was fitted."""
        test = self.test
        if isinstance(test, Predictions):
            return self._arm(fitted(test.logits), fitted)
        return self._arm(fitted.confidences(test.confidences), fitted)

    def _fit(self, name: str, method: Calibrator) -> FittedCalibrator:
        own = self.calibration
        if own is None:  # nothing to fit: any items do
            own = self.test
        if isinstance(own, Predictions):
            rng = np.random.default_rng(self.fit_seed)
            context = CalibrationContext(epsilon=self.epsilon, n_classes=own.n_classes, rng=rng)
            return method.fit(own.logits, own.labels, context=context)
        if not isinstance(method, ConfidenceCalibrator):
            raise InputError(
                f"only the top answer's confidence is known here, and {name!r} needs the logit of"
                " every class; use histogram, isotonic, beta, platt, scaling_binning or identity"
            )
        fitted: FittedCalibrator = method.fit_confidences(own.confidences, own.correct)
        return fitted

    def _arm(self, probs: Float64, fitted: FittedCalibrator | None = None) -> Arm:
        test = self.test
        outcomes = (
            Outcomes.from_probs(probs, test.labels, label_distribution=test.label_distribution)
            if isinstance(test, Predictions)
            else Outcomes.from_top_label(probs, test.correct)
        )
        return Arm(outcomes, self.resamples, self.metrics, fitted)


def metrics_of(record: AnyRecord) -> tuple[str, ...]:
    """Return the ids of what is measured of a record: what it holds is enough for each."""
    if isinstance(record, TopLabelPredictions):
        return TOP_LABEL_METRICS
    return VECTOR_METRICS if record.label_distribution is None else (*VECTOR_METRICS, *SOFT_METRICS)


def takes_confidences(calibrator: str) -> bool:
    """Whether a calibrator can be fitted where only the top answer's confidence is known."""
    return isinstance(calibrators.get(calibrator), ConfidenceCalibrator)


def needs_items(calibrator: str | Calibrator) -> bool:
    """Whether a calibrator is fitted on items at all; what is not leaves all of them to be scored."""
    method = calibrators.get(calibrator) if isinstance(calibrator, str) else calibrator
    return bool(getattr(method, "needs_items", True))
