"""One side of a comparison: a model at one precision, what is fitted on it, and what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from calbench.calibrators import CalibrationContext, Calibrator, FittedCalibrator
from calbench.errors import LeakageError
from calbench.metrics import Outcomes, evaluate
from calbench.records import Float64, Predictions, TopLabelPredictions
from calbench.statistics import Resampled, Resamples, resample

R = TypeVar("R", Predictions, TopLabelPredictions)


@dataclass(frozen=True, eq=False)
class Arm:
    """One set of probabilities for the test items.

    Parameters
    ----------
    items
        The answers, in the order of the sorted ids.
    metrics
        Ids of what is measured.
    resamples
        Of the items.
    """

    items: Outcomes
    metrics: tuple[str, ...]
    resamples: Resamples

    @cached_property
    def values(self) -> dict[str, float]:
        """Each metric on the items themselves."""
        return {name: evaluate(name, self.items) for name in self.metrics}

    @cached_property
    def measured(self) -> dict[str, Resampled]:
        """Each metric on the items and on all resamples."""
        return resample(self.metrics, self.items, self.resamples)


def divided(record: R, calibration_ids: Iterable[str], test_ids: Iterable[str]) -> tuple[R, R]:
    """Return a record's calibration and test items, each in the sorted order of the ids.

    Raises
    ------
    LeakageError
        The parts overlap.
    """
    calibration_ids, test_ids = sorted(calibration_ids), sorted(test_ids)
    shared = set(calibration_ids) & set(test_ids)
    if shared:
        raise LeakageError(
            f"{len(shared)} items are both fitted on and scored, {min(shared)!r} first;"
            " take them out of one of the two"
        )
    return record.take(calibration_ids), record.take(test_ids)


@dataclass(frozen=True, eq=False)
class Side:
    """One model at one precision: its calibration and test items, and what was fitted on it.

    Raw and calibrated arms are measured once, however many comparisons use them.

    Parameters
    ----------
    calibration, test
        Disjoint records; ``test`` has the items of ``resamples``.
    metrics
        Ids of what is measured.
    resamples
        Of the test items.
    epsilon
        Unit error of the precision, for calibrators that want it; None if unknown.
    fit_seed
        Every fit gets a fresh generator with this seed.
    """

    calibration: Predictions
    test: Predictions
    metrics: tuple[str, ...]
    resamples: Resamples
    epsilon: float | None = None
    fit_seed: int = 0
    _fits: dict[str, FittedCalibrator] = field(default_factory=dict, repr=False)
    _arms: dict[str, Arm] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        record: Predictions,
        *,
        calibration_ids: Iterable[str],
        test_ids: Iterable[str],
        metrics: Sequence[str],
        resamples: Resamples,
        epsilon: float | None = None,
        fit_seed: int = 0,
    ) -> Side:
        """Divide a record; raises :class:`LeakageError` if the parts overlap."""
        parts = divided(record, calibration_ids, test_ids)
        return cls(*parts, tuple(metrics), resamples, epsilon, fit_seed)

    @cached_property
    def raw(self) -> Arm:
        """The model as it is."""
        return self.arm(self.test.probs)

    def fitted(self, calibrator: str, method: Calibrator) -> FittedCalibrator:
        """Return the method fitted on this side's calibration items."""
        if calibrator not in self._fits:
            context = CalibrationContext(
                epsilon=self.epsilon,
                n_classes=self.calibration.n_classes,
                rng=np.random.default_rng(self.fit_seed),
            )
            self._fits[calibrator] = method.fit(
                self.calibration.logits, self.calibration.labels, context=context
            )
        return self._fits[calibrator]

    def calibrated(self, calibrator: str, method: Calibrator) -> Arm:
        """The model with the method fitted on its own calibration items."""
        if calibrator not in self._arms:
            self._arms[calibrator] = self.arm(self.fitted(calibrator, method)(self.test.logits))
        return self._arms[calibrator]

    def applied(self, fitted: FittedCalibrator) -> Arm:
        """The model's test items with a fit, wherever it was fitted."""
        return self.arm(fitted(self.test.logits))

    def arm(self, probs: Float64) -> Arm:
        """Return probabilities ``(n, k)`` of the test items as an arm."""
        return Arm(Outcomes.from_probs(probs, self.test.labels), self.metrics, self.resamples)
