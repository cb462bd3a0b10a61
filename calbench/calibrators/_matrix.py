"""Matrix scaling and Dirichlet calibration: a full linear map, regularised off its diagonal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import Ops, log_softmax
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import FitData, check_fit, check_strength
from calbench.calibrators._interface import CalibrationContext
from calbench.calibrators._linear import Design, FullMatrix, judged, matrix_formula
from calbench.calibrators._solvers import Solution, newton_cg
from calbench.calibrators._temperature import fit_temperature
from calbench.errors import InputError
from calbench.records import Float64

SOURCE = "Kull et al. 2019, Beyond temperature scaling (NeurIPS)"

# On a diagonal entry, as for vector scaling: a finite optimum even on separable data.
_RIDGE = 5e-7
_MAX_CLASSES = 200


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedMatrix(Fitted):
    """softmax(W z + b)."""

    calibrator = "matrix"
    weights: Float64
    bias: Float64

    def formula(self, ops: Ops, z: Any) -> Any:
        """Map the logits linearly."""
        return matrix_formula(ops, z, self.weights, self.bias)

    def problems(self) -> Problems:
        """What its parameters must keep."""
        k = self.n_classes
        yield (
            self.weights.shape == (k, k) and self.bias.shape == (k,),
            f"weights and bias are not of {k} classes",
        )

    @property
    def n_parameters(self) -> int:
        """K (k + 1)."""
        return self.weights.size + self.bias.size


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedDirichlet(FittedMatrix):
    """softmax(W log p + b)."""

    calibrator = "dirichlet"

    def formula(self, ops: Ops, z: Any) -> Any:
        """Map the log-probabilities linearly."""
        return matrix_formula(ops, log_softmax(ops, z), self.weights, self.bias)


F = TypeVar("F", bound=FittedMatrix)


@calibrator("matrix")
@dataclass(frozen=True)
class Matrix(Method):
    r"""Matrix scaling with off-diagonal and intercept regularisation (ODIR): softmax(W z + b).

    .. math:: \min_{W, b} \; \mathrm{NLL} + \frac{λ}{k (k - 1)} \sum_{i \ne j} w_{ij}^2
        + \frac{μ}{k} \sum_j b_j^2

    and 5e-7 ‖diag W − 1‖², so that there is a minimum on separable data too. Options that an item
    does not have take no part: they add nothing to the other scores and stay impossible. Up to 200
    classes.

    Parameters
    ----------
    reg_lambda, reg_mu
        λ and μ, both > 0.

    References
    ----------
    Kull et al.: Beyond temperature scaling, NeurIPS 2019, section 3 and supplement (MS-ODIR).

    Examples
    --------
    >>> z, y = [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]], [0, 1, 1, 0]
    >>> fitted = Matrix().fit(z, y)
    >>> fitted([[2.0, 0.0]]).round(2).tolist(), fitted.n_parameters
    ([[0.5, 0.5]], 6)
    """

    fit_type = FittedMatrix
    source = SOURCE

    reg_lambda: float = 1.0
    reg_mu: float = 1.0

    def __post_init__(self) -> None:
        check_strength("reg_lambda", self.reg_lambda, positive=True)
        check_strength("reg_mu", self.reg_mu, positive=True)

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedMatrix:
        """Find W and b; raises :class:`InputError` for data that cannot be used."""
        data = check_fit(logits, labels, context)
        strength = odir(data.n_classes, self.reg_lambda, self.reg_mu)
        return _fitted(FittedMatrix, data, fit_matrix(data, strength, log_probs=False))


@calibrator("dirichlet")
@dataclass(frozen=True)
class Dirichlet(Method):
    r"""Dirichlet calibration: softmax(W log p + b), with ODIR or L2 regularisation.

    With ``odir`` the objective is that of :class:`Matrix`, on log-probabilities; with ``l2`` the
    penalty is λ / (k (k + 1)) (‖W‖² + ‖b‖²), which shrinks towards the uniform forecast.

    Parameters
    ----------
    reg_lambda, reg_mu
        λ and μ, both > 0; ``l2`` has no μ.
    regularizer
        ``"odir"`` or ``"l2"``.

    References
    ----------
    Kull et al.: Beyond temperature scaling, NeurIPS 2019, eq. 3 and section 3.

    Examples
    --------
    >>> z, y = [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]], [0, 1, 1, 0]
    >>> Dirichlet().fit(z, y)([[2.0, 0.0]]).round(2).tolist()
    [[0.5, 0.5]]
    """

    fit_type = FittedDirichlet
    source = SOURCE

    reg_lambda: float = 1.0
    reg_mu: float = 1.0
    regularizer: Literal["odir", "l2"] = "odir"

    def __post_init__(self) -> None:
        check_strength("reg_lambda", self.reg_lambda, positive=True)
        check_strength("reg_mu", self.reg_mu, positive=True)
        if self.regularizer not in ("odir", "l2"):
            raise InputError(f"dirichlet: regularizer is {self.regularizer!r}; use 'odir' or 'l2'")

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedDirichlet:
        """Find W and b; raises :class:`InputError` for data that cannot be used."""
        data = check_fit(logits, labels, context)
        k = data.n_classes
        if self.regularizer == "odir":
            strength = odir(k, self.reg_lambda, self.reg_mu)
            return _fitted(FittedDirichlet, data, fit_matrix(data, strength, log_probs=True))
        strength = np.full((k, k + 1), self.reg_lambda / (k * (k + 1)))
        solution = fit_matrix(data, strength, log_probs=True, centre=np.zeros((k, k + 1)))
        return _fitted(FittedDirichlet, data, solution)


def odir(n_classes: int, reg_lambda: float, reg_mu: float) -> Float64:
    """Strength of the penalty on each entry of (W | b), ``(k, k + 1)``."""
    k = n_classes
    strength = np.full((k, k + 1), reg_lambda / (k * (k - 1)))
    np.fill_diagonal(strength, _RIDGE)
    strength[:, k] = reg_mu / k
    return strength


def fit_matrix(
    data: FitData, strength: Float64, *, log_probs: bool, centre: Float64 | None = None
) -> Solution:
    """Minimise the penalised loss of a full linear map; ``x`` is (W | b), ``(k, k + 1)``."""
    if data.n_classes > _MAX_CLASSES:
        raise InputError(
            f"a full matrix has {data.n_classes * (data.n_classes + 1)} parameters for {data.n_classes}"
            f" classes, more than any calibration split can hold; above {_MAX_CLASSES} classes use vector,"
            " affine or temperature"
        )
    identity = np.eye(data.n_classes, data.n_classes + 1)
    problem = FullMatrix(
        Design.of(data, log_probs=log_probs), strength, identity if centre is None else centre
    )
    return newton_cg(problem, identity / fit_temperature(data)[0])


def _fitted(kind: type[F], data: FitData, solution: Solution) -> F:
    weights, bias = solution.x[:, :-1].copy(), solution.x[:, -1].copy()
    return judged(kind(weights=weights, bias=bias, n_classes=data.n_classes), data, solution)
