"""What a calibrator and a fitted calibrator are, for those who write one and those who use one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.records import Float64

Needs = Literal["logits", "top-label"]


@dataclass(frozen=True)
class CalibrationContext:
    """What a method may need besides the data it is fitted on.

    Parameters
    ----------
    epsilon
        Unit error of the precision that the logits were computed at (see
        :func:`calbench.calibrators.unit_error`), or None where it is unknown.
    n_classes
        Number of classes of the task, or None to take it from the logits.
    rng
        Source of randomness. A fit that draws from it advances it: pass a fresh generator to
        repeat a fit.
    """

    epsilon: float | None = None
    n_classes: int | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            check_epsilon(self.epsilon)


@runtime_checkable
class FittedCalibrator(Protocol):
    """A frozen map from logits to probabilities."""

    @property
    def n_parameters(self) -> int:
        """How many numbers were learned."""
        ...

    @property
    def size_bytes(self) -> int:
        """What the fit stores, as float64, learned or not (bin edges count)."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the result must know, such as a temperature that ran to its bound."""
        ...

    def __call__(self, logits: npt.ArrayLike) -> Float64:
        """Return probabilities ``(n, k)`` for logits ``(n, k)``."""
        ...

    def at(self, epsilon: float | None) -> FittedCalibrator:
        """Return the fit as it applies to a model of another precision; most fits are unchanged."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON from which :func:`calbench.calibrators.from_dict` restores every bit."""
        ...


class Calibrator(Protocol):
    """A method that learns, on the calibration split, to turn logits into better probabilities."""

    @property
    def needs(self) -> Needs:
        """``"logits"`` for a full class vector, ``"top-label"`` if the top confidence is enough."""
        ...

    @property
    def needs_epsilon(self) -> bool:
        """Whether ``context.epsilon`` must be given."""
        ...

    @property
    def preserves_prediction(self) -> bool:
        """Whether the predicted class never changes."""
        ...

    @property
    def source(self) -> str:
        """The paper."""
        ...

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedCalibrator:
        """Fit on logits ``(n, k)`` and labels ``(n,)`` of the calibration split."""
        ...


def check_epsilon(epsilon: float) -> float:
    """Return a unit error as a float in [0, 1), or raise."""
    if not 0 <= epsilon < 1:
        raise InputError(
            f"epsilon is {epsilon}; a unit error lies in [0, 1), such as unit_error('int4') = 1/14"
        )
    return float(epsilon)
