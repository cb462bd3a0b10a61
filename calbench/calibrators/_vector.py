"""Vector scaling: a scale and a bias per class, on logits or on log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import Ops, log_softmax
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import FitData, check_enough, check_fit, check_strength
from calbench.calibrators._interface import CalibrationContext
from calbench.calibrators._linear import Design, PerClass, judged, per_class_formula
from calbench.calibrators._solvers import Solution, newton_cg
from calbench.records import Float64


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedVector(Fitted):
    """softmax(a ∘ z + b)."""

    calibrator = "vector"
    scale: Float64
    bias: Float64

    def formula(self, ops: Ops, z: Any) -> Any:
        """Scale and shift each class's logit."""
        return per_class_formula(ops, z, self.scale, self.bias)

    def problems(self) -> Problems:
        """What its parameters must keep."""
        shape = (self.n_classes,)
        yield (
            self.scale.shape == self.bias.shape == shape,
            f"scale and bias are not of {self.n_classes} classes",
        )

    @property
    def n_parameters(self) -> int:
        """Two a class."""
        return 2 * len(self.scale)


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedAffine(FittedVector):
    """softmax(a ∘ log p + b)."""

    calibrator = "affine"

    def formula(self, ops: Ops, z: Any) -> Any:
        """Scale and shift each class's log-probability."""
        return per_class_formula(ops, log_softmax(ops, z), self.scale, self.bias)


@calibrator("vector")
@dataclass(frozen=True)
class Vector(Method):
    r"""Vector scaling: softmax(a ∘ z + b), 2k parameters of least negative log-likelihood.

    Parameters
    ----------
    ridge
        Adds ridge/2 (‖a − 1‖² + ‖b‖²), which keeps the parameters finite where the data alone
        would not (a class without samples, separable data; ``warnings`` says so) and makes b
        unique. The default moves the loss by less than the solver's accuracy matters.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, section 4.2.

    Examples
    --------
    A model that never takes sides, where class 0 is right in 3 of 4 cases, learns the bias:

    >>> z = [[0.1, -0.1], [-0.1, 0.1]] * 4
    >>> fitted = Vector().fit(z, [0, 0, 0, 0, 0, 0, 1, 1])
    >>> fitted(z[:1]).round(2).tolist()
    [[0.75, 0.25]]
    """

    fit_type = FittedVector
    source = "Guo et al. 2017, On Calibration of Modern Neural Networks (ICML)"

    ridge: float = 1e-6

    def __post_init__(self) -> None:
        check_strength("ridge", self.ridge, positive=True)

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedVector:
        """Find a and b; raises :class:`InputError` with fewer than 2k samples."""
        data = check_fit(logits, labels, context)
        solution = fit_per_class(data, self.ridge, "vector", log_probs=False)
        a, b = solution.x.copy()
        return judged(FittedVector(scale=a, bias=b, n_classes=data.n_classes), data, solution)


@calibrator("affine")
@dataclass(frozen=True)
class Affine(Method):
    r"""A plain affine map of log-probabilities: softmax(a ∘ log p + b), 2k parameters.

    As :class:`Vector`, on log p: it does not depend on the logits' unidentified constant. Also
    known as the diagonal Dirichlet calibrator.

    References
    ----------
    Kull et al.: Beyond temperature scaling, NeurIPS 2019, section 3 (diagonal parametrisation).

    Examples
    --------
    >>> z, y = [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]], [0, 1, 1, 0]
    >>> Affine().fit(z, y)([[2.0, 0.0]]).round(2).tolist()
    [[0.5, 0.5]]
    """

    fit_type = FittedAffine
    source = "Kull et al. 2019, Beyond temperature scaling (NeurIPS), diagonal form"

    ridge: float = 1e-6

    def __post_init__(self) -> None:
        check_strength("ridge", self.ridge, positive=True)

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedAffine:
        """Find a and b; raises :class:`InputError` with fewer than 2k samples."""
        data = check_fit(logits, labels, context)
        solution = fit_per_class(data, self.ridge, "affine", log_probs=True)
        a, b = solution.x.copy()
        return judged(FittedAffine(scale=a, bias=b, n_classes=data.n_classes), data, solution)


def fit_per_class(data: FitData, ridge: float, name: str, *, log_probs: bool) -> Solution:
    """Minimise the loss of a scale and a bias per class; ``x`` is (a, b), ``(2, k)``."""
    check_enough(data, 2 * data.n_classes, name)
    problem = PerClass(Design.of(data, log_probs=log_probs), ridge)
    return newton_cg(problem, problem.neutral)
