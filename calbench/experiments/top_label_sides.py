"""A side of a comparison of which only the top answers are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from calbench.arrays import Bool, Float64
from calbench.calibrators import Calibrator, FittedCalibrator
from calbench.errors import InputError
from calbench.experiments.sides import Arm, divided
from calbench.metrics import Items
from calbench.predictions import TopLabelPredictions
from calbench.statistics import Resamples


@runtime_checkable
class ConfidenceCalibrator(Protocol):
    """A calibrator that can be fitted on top-1 confidences alone."""

    def fit_confidences(self, confidences: Float64, correct: Bool) -> Any:
        """Return what maps confidences: it has ``confidences(values)``."""
        ...


@dataclass(frozen=True, eq=False)
class TopLabelSide:
    """As :class:`calbench.experiments.sides.Side`, of a record of the top answer only."""

    calibration: TopLabelPredictions
    test: TopLabelPredictions
    metrics: tuple[str, ...]
    resamples: Resamples
    epsilon: float | None = None
    _fits: dict[str, FittedCalibrator] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        record: TopLabelPredictions,
        *,
        calibration_ids: Iterable[str],
        test_ids: Iterable[str],
        metrics: Sequence[str],
        resamples: Resamples,
        epsilon: float | None = None,
    ) -> TopLabelSide:
        """Divide a record; raises :class:`LeakageError` if the parts overlap."""
        parts = divided(record, calibration_ids, test_ids)
        return cls(*parts, tuple(metrics), resamples, epsilon)

    @cached_property
    def raw(self) -> Arm:
        """The model as it is."""
        return self._arm(self.test.confidences)

    def fitted(self, calibrator: str, method: Calibrator) -> FittedCalibrator:
        """Return the method fitted on this side's confidences; refuse one that needs a class vector."""
        if calibrator not in self._fits:
            if not isinstance(method, ConfidenceCalibrator):
                raise InputError(
                    f"only the top answer's confidence is known here, and {calibrator!r} needs the logit of"
                    " every class; use histogram, isotonic, beta, platt or scaling_binning"
                )
            self._fits[calibrator] = method.fit_confidences(
                self.calibration.confidences, self.calibration.correct
            )
        return self._fits[calibrator]

    def calibrated(self, calibrator: str, method: Calibrator) -> Arm:
        """The model with the method fitted on its own calibration items."""
        return self.applied(self.fitted(calibrator, method))

    def applied(self, fitted: Any) -> Arm:
        """The model's test items with a fit, wherever it was fitted."""
        return self._arm(fitted.confidences(self.test.confidences))

    def _arm(self, confidences: Float64) -> Arm:
        return Arm(Items.from_top_label(confidences, self.test.correct), self.metrics, self.resamples)
