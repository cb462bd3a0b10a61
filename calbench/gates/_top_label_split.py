"""A side of a comparison of which only the top answers are known, and which kind of side a record makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from calbench import calibrators
from calbench.calibrators import Calibrator, FittedCalibrator
from calbench.errors import InputError
from calbench.gates._fitted_split import Arm, Side, divided
from calbench.metrics import Outcomes
from calbench.records import Bool, Float64, Predictions, TopLabelPredictions
from calbench.statistics import Resamples

VECTOR_METRICS = ("ece", "nll", "brier", "accuracy")
TOP_LABEL_METRICS = ("ece", "brier_toplabel", "accuracy")


@runtime_checkable
class ConfidenceCalibrator(Protocol):
    """A calibrator that can be fitted on top-1 confidences alone."""

    def fit_confidences(self, confidences: Float64, correct: Bool) -> Any:
        """Return what maps confidences: it has ``confidences(values)``."""
        ...


@dataclass(frozen=True, eq=False)
class TopLabelSide:
    """As :class:`calbench.gates._fitted_split.Side`, of a record of the top answer only."""

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
                    " every class; use histogram, isotonic, beta, platt, scaling_binning or identity"
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
        return Arm(Outcomes.from_top_label(confidences, self.test.correct), self.metrics, self.resamples)


def side_of(
    record: Predictions | TopLabelPredictions,
    *,
    calibration_ids: Iterable[str],
    test_ids: Iterable[str],
    metrics: Sequence[str],
    resamples: Resamples,
    epsilon: float | None = None,
    fit_seed: int = 0,
) -> Side | TopLabelSide:
    """Divide a record of either kind; raises :class:`LeakageError` if the parts overlap."""
    if isinstance(record, TopLabelPredictions):
        return TopLabelSide.of(
            record,
            calibration_ids=calibration_ids,
            test_ids=test_ids,
            metrics=metrics,
            resamples=resamples,
            epsilon=epsilon,
        )
    return Side.of(
        record,
        calibration_ids=calibration_ids,
        test_ids=test_ids,
        metrics=metrics,
        resamples=resamples,
        epsilon=epsilon,
        fit_seed=fit_seed,
    )


def metrics_of(record: Predictions | TopLabelPredictions) -> tuple[str, ...]:
    """Return the ids of what is measured of a record: what it holds is enough for each."""
    return VECTOR_METRICS if isinstance(record, Predictions) else TOP_LABEL_METRICS


def takes_confidences(calibrator: str) -> bool:
    """Whether a calibrator can be fitted where only the top answer's confidence is known."""
    return isinstance(calibrators.get(calibrator), ConfidenceCalibrator)
