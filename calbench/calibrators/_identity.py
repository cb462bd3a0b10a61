"""No calibration: the model's own probabilities, what every calibrator is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import Ops
from calbench.calibrators._fitted import Fitted, Method
from calbench.calibrators._inputs import check_fit
from calbench.calibrators._interface import CalibrationContext
from calbench.records import Float64, check_confidences, check_correct


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedIdentity(Fitted):
    """softmax(z)."""

    calibrator = "identity"

    def formula(self, ops: Ops, z: Any) -> Any:
        """Softmax."""
        return ops.softmax(z)

    def confidences(self, confidences: npt.ArrayLike) -> Float64:
        """Return confidences ``(n,)`` as they are, where only the top answer's is known."""
        return check_confidences(confidences)

    @property
    def n_parameters(self) -> int:
        """None."""
        return 0


@calibrator("identity")
@dataclass(frozen=True)
class Identity(Method):
    """No calibration.

    >>> Identity().fit([[1.0, 1.0, 3.0], [2.0, 0.0, 0.0]], [2, 0])([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """

    fit_type = FittedIdentity
    source = "the model's own softmax"
    preserves_prediction = True
    needs = "top-label"
    needs_items: ClassVar[bool] = False

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedIdentity:
        """Check the data; learn nothing."""
        check_fit(logits, labels, context)
        return FittedIdentity()

    def fit_confidences(self, confidences: npt.ArrayLike, correct: npt.ArrayLike) -> FittedIdentity:
        """Check confidences and correctness; learn nothing."""
        check_correct(correct, len(check_confidences(confidences)))
        return FittedIdentity()
