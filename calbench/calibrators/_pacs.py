"""PACS: a temperature per item that grows with what rounding can have done to its logits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import NUMPY, Ops, centred
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import FitData, check_fit
from calbench.calibrators._interface import CalibrationContext, check_epsilon
from calbench.calibrators._scaling import scale_derivatives
from calbench.calibrators._solvers import Solution, not_converged, projected_newton
from calbench.calibrators._temperature import fit_temperature
from calbench.errors import InputError
from calbench.records import Float64

SOURCE = "after Precision-Aware Confidence Scaling (ICML 2026), reconstructed from its abstract"

# Below this the largest risk epsilon * norm cannot be told from 0 by any calibration split, and
# a fitted alpha would be of order 1 / epsilon: absurd at every other precision.
_SMALLEST_RISK = 1e-2


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedPacs(Fitted):
    """softmax(z̃ / (T (1 + α ε ‖z̃‖))), at the precision ``epsilon``.

    ``fitted_epsilon`` is the precision at which α was learned, or None if it was given.
    """

    calibrator = "pacs"
    alpha: float
    temperature: float
    epsilon: float
    fitted_epsilon: float | None = None
    n_learned: int = 0

    def formula(self, ops: Ops, z: Any) -> Any:
        """Softmax of the centred logits, each row divided by its own temperature."""
        z, norm = centred(ops, z)
        risk = ops.constant("epsilon", self.epsilon) * norm
        growth = 1 + ops.constant("alpha", self.alpha) * risk
        return ops.softmax(z / (ops.constant("temperature", self.temperature) * growth))

    def problems(self) -> Problems:
        """What its parameters must keep."""
        yield self.alpha >= 0, f"alpha is {self.alpha}"
        yield self.temperature > 0, f"temperature is {self.temperature}"
        for name in ("epsilon", "fitted_epsilon"):
            value = getattr(self, name)
            yield (value is None and name != "epsilon") or 0 <= value < 1, f"{name} is {value}"
        yield self.n_learned <= 2, f"n_learned is {self.n_learned}"

    @property
    def n_parameters(self) -> int:
        """0 data-free, 1 with α or T fitted, 2 with both."""
        return self.n_learned

    def at(self, epsilon: float | None) -> FittedPacs:
        """Return the fit for a model of another precision: α and T stay, ε is that model's.

        Raises
        ------
        InputError
            ``epsilon`` is unknown.
        """
        epsilon = _known(epsilon)
        if epsilon == self.epsilon:
            return self
        warnings = self.warnings
        if self.fitted_epsilon is not None:
            warning = (
                f"alpha was fitted at epsilon = {self.fitted_epsilon:.3g} and is used at {epsilon:.3g}:"
                " the formula is extrapolated"
            )
            warnings = (*warnings, warning)
        return dataclasses.replace(self, epsilon=epsilon, warnings=warnings)


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedPacsTemperature(FittedPacs):
    """As :class:`FittedPacs`, with a temperature."""

    calibrator = "pacs_temperature"


@calibrator("pacs")
@dataclass(frozen=True)
class Pacs(Method):
    r"""Precision-aware confidence scaling, data-free or with a fitted α.

    .. math:: \tilde z = z - \bar z, \quad r = ε \lVert \tilde z \rVert_2, \quad
        s = \frac{1}{1 + α r}, \quad p = \mathrm{softmax}(s \tilde z)

    ε is the unit error of the precision that computed the logits (``context.epsilon``). The
    prediction never changes, and the map tends to plain softmax as ε → 0. The full text of the
    paper is not public: this is a reconstruction from its abstract.

    A fit is tied to a precision through ε only: ``fitted.at(epsilon)`` is the same fit for the
    quantized model. An α cannot be learned where there is no rounding to learn it from: if ε‖z̃‖
    stays below 0.01, as at fp32, α keeps the data-free value 1 and ``warnings`` says so.

    Parameters
    ----------
    alpha
        A number ≥ 0, or ``"fitted"`` for the α of least negative log-likelihood.

    Examples
    --------
    Centred, [1, −1] has norm √2, so int4 (ε = 1/14) divides it by 1 + √2 / 14:

    >>> context = CalibrationContext(epsilon=1 / 14)
    >>> fitted = Pacs().fit([[2.0, 0.0], [0.0, 2.0]], [0, 1], context=context)
    >>> p = fitted([[2.0, 0.0]])[0]
    >>> bool(np.isclose(np.log(p[0] / p[1]), 2 / (1 + 2**0.5 / 14)))
    True
    """

    fit_type = FittedPacs
    source = SOURCE
    needs_epsilon = True
    preserves_prediction = True
    cross_fits = True

    alpha: float | Literal["fitted"] = 1.0

    def __post_init__(self) -> None:
        if self.alpha != "fitted" and not (isinstance(self.alpha, float | int) and 0 <= self.alpha < np.inf):
            raise InputError(f"pacs: alpha is {self.alpha!r}; use a number from 0 up, or 'fitted'")

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedPacs:
        """Learn α if it is to be fitted; raises :class:`InputError` without ``context.epsilon``."""
        data = check_fit(logits, labels, context)
        epsilon = _known(context.epsilon if context else None)
        if not isinstance(self.alpha, str):
            return FittedPacs(alpha=float(self.alpha), temperature=1.0, epsilon=epsilon)
        norms = _norms(data)
        if (warning := _unlearnable(norms, epsilon)) is not None:
            return FittedPacs(alpha=1.0, temperature=1.0, epsilon=epsilon, warnings=(warning,))
        solution = fit_pacs(data, epsilon * norms, fixed_temperature=1.0)
        return FittedPacs(
            alpha=float(solution.x[1]),
            temperature=1.0,
            epsilon=epsilon,
            fitted_epsilon=epsilon,
            n_learned=1,
            warnings=not_converged(solution),
        )


@calibrator("pacs_temperature")
@dataclass(frozen=True)
class PacsTemperature(Method):
    r"""PACS with a temperature: p = softmax(z̃ / (T (1 + α ε ‖z̃‖))), α ≥ 0 and T > 0 fitted.

    Both minimise the negative log-likelihood, from several starts, since it is not convex in
    (T, α). Where α cannot be learned (see :class:`Pacs`) it is 1 and T alone is fitted: used on a
    quantized model through ``fitted.at(epsilon)`` that is the reference's temperature, times what
    the quantized model's own rounding asks for.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(2000, 3)) * 3
    >>> y = np.array([rng.choice(3, p=p) for p in FittedPacs(alpha=2.0, temperature=1.5, epsilon=0.07)(z)])
    >>> fitted = PacsTemperature().fit(z, y, context=CalibrationContext(epsilon=0.07))
    >>> fitted.n_parameters, fitted.at(0.0).epsilon
    (2, 0.0)
    """

    fit_type = FittedPacsTemperature
    source = SOURCE
    needs_epsilon = True
    preserves_prediction = True
    cross_fits = True

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedPacsTemperature:
        """Learn α and T; raises :class:`InputError` without ``context.epsilon``."""
        data = check_fit(logits, labels, context)
        epsilon = _known(context.epsilon if context else None)
        norms = _norms(data)
        if (warning := _unlearnable(norms, epsilon)) is not None:
            temperature, warnings = fit_temperature(data)
            return FittedPacsTemperature(
                alpha=1.0,
                temperature=temperature,
                epsilon=epsilon,
                n_learned=1,
                warnings=(*warnings, warning),
            )
        solution = fit_pacs(data, epsilon * norms)
        temperature, product = solution.x
        return FittedPacsTemperature(
            alpha=float(product / temperature),
            temperature=float(temperature),
            epsilon=epsilon,
            fitted_epsilon=epsilon,
            n_learned=2,
            warnings=not_converged(solution) + _at_bounds(solution),
        )


MAX_TEMPERATURE = 1e3
_MAX_PRODUCT = 1e6


def fit_pacs(data: FitData, risks: Float64, *, fixed_temperature: float | None = None) -> Solution:
    """Minimise the loss of softmax(z / (T + γ r)) over x = (T, γ), γ = α T; the best of several starts.

    Parameters
    ----------
    data
        The calibration split.
    risks
        r = ε‖z̃‖, ``(n,)``.
    fixed_temperature
        T, if it is not to be fitted.
    """
    t = fixed_temperature
    lower = [1e-3 if t is None else t, 0.0]
    upper = [MAX_TEMPERATURE if t is None else t, _MAX_PRODUCT]
    first = fit_temperature(data)[0] if t is None else t
    typical = float(np.median(risks[risks > 0]))
    starts = [(first / (1 + share), first * share / (1 + share) / typical) for share in (0.1, 1.0, 10.0)]
    starts = [(first if t is None else t, 0.0), *((a if t is None else t, g) for a, g in starts)]
    tries = [
        projected_newton(lambda x: pacs_loss(data, risks, x), s, lower=lower, upper=upper) for s in starts
    ]
    return min(tries, key=lambda solution: solution.value)


def pacs_loss(data: FitData, risks: Float64, x: Float64) -> tuple[float, Float64, Float64]:
    """Mean loss of softmax(z / (T + γ r)), its gradient and Hessian by (T, γ)."""
    q = 1 / (x[0] + x[1] * risks)
    loss, first, second = scale_derivatives(data, q)
    basis = np.stack([np.ones_like(risks), risks], axis=1)
    # q = 1 / d with d linear in x: q' = -q^2 d', q'' = 2 q^3 d' d'.
    gradient = basis.T @ (-first * q**2)
    curvature = second * q**4 + 2 * first * q**3
    n = len(q)
    return float(loss.mean()), gradient / n, (basis.T * curvature) @ basis / n


def _norms(data: FitData) -> Float64:
    rows = max(1, 2**17 // data.n_classes)
    blocks = [data.logits[i : i + rows].astype(np.float64) for i in range(0, data.n_samples, rows)]
    return np.concatenate([centred(NUMPY, block)[1][:, 0] for block in blocks])


def _unlearnable(norms: Float64, epsilon: float) -> str | None:
    largest = epsilon * float(norms.max())
    if largest >= _SMALLEST_RISK:
        return None
    return (
        f"alpha was not fitted but left at 1: the largest risk epsilon * norm is {largest:.1e} here, too"
        " small to learn from; fit on the quantized model to learn it"
    )


def _at_bounds(solution: Solution) -> tuple[str, ...]:
    if 1e-3 < solution.x[0] < MAX_TEMPERATURE and solution.x[1] < _MAX_PRODUCT:
        return ()
    warning = (
        f"the fit ran to a bound (T = {solution.x[0]:.3g}, alpha T = {solution.x[1]:.3g}): the calibration"
        " split is separable, no better than chance, or explained by the norm alone"
    )
    return (warning,)


def _known(epsilon: float | None) -> float:
    if epsilon is None:
        raise InputError(
            "pacs needs the unit error of the precision that computed the logits; pass"
            " context=CalibrationContext(epsilon=unit_error('int4')), say"
        )
    return check_epsilon(epsilon)
