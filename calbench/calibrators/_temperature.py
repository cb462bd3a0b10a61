"""Temperature scaling: one number for all logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import Ops
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import FitData, check_fit
from calbench.calibrators._interface import CalibrationContext
from calbench.calibrators._scaling import scale_cumulants
from calbench.calibrators._solvers import increasing_root
from calbench.errors import InputError

_SUBSAMPLE = 50
_EXTREME = 5e3  # logits whose moments single precision holds


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedTemperature(Fitted):
    """softmax(z / T)."""

    calibrator = "temperature"
    temperature: float

    def formula(self, ops: Ops, z: Any) -> Any:
        """Softmax of the divided logits."""
        return ops.softmax(z / ops.constant("temperature", self.temperature))

    def problems(self) -> Problems:
        """What its parameters must keep."""
        yield self.temperature > 0, f"temperature is {self.temperature}"

    @property
    def n_parameters(self) -> int:
        """One."""
        return 1


@calibrator("temperature")
@dataclass(frozen=True)
class Temperature(Method):
    r"""Softmax(z / T) with the T > 0 of least negative log-likelihood.

    The loss is convex in β = 1 / T, with derivative mean(E_p[z] − z_y); its root is found by
    Newton's method inside a bracket, to 1e-10 in β times the derivative. Where there is no root
    between the bounds (every prediction is right, or the model is no better than chance), the
    bound is returned and ``warnings`` says so.

    Parameters
    ----------
    min_temperature, max_temperature
        The bounds.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, eq. 9.

    Examples
    --------
    A model that says 88% and is right in 3 of 4 cases has its logit of 2 divided by 2 / ln 3:

    >>> fitted = Temperature().fit([[2.0, 0], [2.0, 0], [2.0, 0], [2.0, 0]], [0, 0, 0, 1])
    >>> round(fitted.temperature, 4), fitted([[2.0, 0.0]]).round(3).tolist()
    (1.8205, [[0.75, 0.25]])
    """

    fit_type = FittedTemperature
    source = "Guo et al. 2017, On Calibration of Modern Neural Networks (ICML)"
    preserves_prediction = True
    cross_fits = True

    min_temperature: float = 1e-3
    max_temperature: float = 1e3

    def __post_init__(self) -> None:
        if not 0 < self.min_temperature < self.max_temperature < np.inf:
            raise InputError(
                f"temperature bounds [{self.min_temperature}, {self.max_temperature}]: use 0 < min < max"
            )

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedTemperature:
        """Find T; raises :class:`InputError` for data that cannot be used."""
        data = check_fit(logits, labels, context)
        temperature, warnings = fit_temperature(data, self.min_temperature, self.max_temperature)
        return FittedTemperature(temperature=temperature, warnings=warnings)


def fit_temperature(
    data: FitData, min_temperature: float = 1e-3, max_temperature: float = 1e3
) -> tuple[float, tuple[str, ...]]:
    """Return the temperature of least loss, and warnings."""
    bounds = (1 / max_temperature, 1 / min_temperature)
    inverse, converged = _inverse_temperature(data, bounds)
    temperature = 1 / inverse
    if converged:
        return temperature, ()
    if inverse == bounds[1]:
        why = f"temperature ran to its lower bound {min_temperature:g}: {_why_low(data)}"
        return min_temperature, (why,)
    if inverse == bounds[0]:
        why = f"temperature ran to its upper bound {max_temperature:g}: {_why_high(data)}"
        return max_temperature, (why,)
    return temperature, ("the temperature's root was found to the last bit, but its gradient exceeds 1e-10",)


def _why_low(data: FitData) -> str:
    if (np.argmax(data.logits, axis=1) == data.labels).all():
        return (
            "every calibration sample is predicted right (separable data), so no finite confidence is too"
            " high; use more or harder samples"
        )
    return (
        f"the logits are so small (at most {data.extent:.2g}) that the best temperature lies below; give a"
        " lower min_temperature, or scale the logits"
    )


def _why_high(data: FitData) -> str:
    averages = np.mean(data.logits, axis=1, where=np.isfinite(data.logits), dtype=np.float64)
    if averages.mean() >= data.targets.mean(dtype=np.float64):
        return (
            "on the calibration split the model's logits are no better than chance, and the fit makes every"
            " class equally likely"
        )
    return (
        f"the logits are so large (up to {data.extent:.2g}) that the best temperature lies above; give a"
        " higher max_temperature, or scale the logits"
    )


def _inverse_temperature(data: FitData, bounds: tuple[float, float]) -> tuple[float, bool]:
    start = min(max(1.0, bounds[0]), bounds[1])
    if data.n_samples > 10 * _SUBSAMPLE and data.extent <= _EXTREME:
        start = _guess(data, bounds, start)
    return increasing_root(lambda inverse: _slopes(data, inverse), *bounds, start)


def _guess(data: FitData, bounds: tuple[float, float], start: float) -> float:
    """Come within some percent of the root, from ever more of the rows."""
    for step in (100, 10):
        some = data.every(step)
        if some.n_samples >= _SUBSAMPLE:
            start, _ = increasing_root(
                lambda inverse, some=some: _slopes(some, inverse, np.float32),  # type: ignore[misc]
                *bounds,
                start,
                close=0.15,
            )
    return start


def _slopes(
    data: FitData, inverse: float, dtype: type[np.floating[Any]] = np.float64
) -> tuple[float, float, float]:
    """Value and two derivatives of the function whose root is sought."""
    first, second, third = scale_cumulants(data, inverse, 3, dtype)
    return first, second, third
