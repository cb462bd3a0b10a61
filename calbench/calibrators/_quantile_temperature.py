"""A temperature that depends on how confident an item is, compared with the calibration split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import NUMPY, Ops
from calbench.calibrators._confidence import top_log_odds
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import FitData, check_enough, check_fit
from calbench.calibrators._interface import CalibrationContext
from calbench.calibrators._scaling import scale_derivatives
from calbench.calibrators._solvers import Solution, not_converged, projected_newton
from calbench.calibrators._steps import interpolate
from calbench.calibrators._temperature import fit_temperature
from calbench.errors import InputError
from calbench.records import Float64

_SMALLEST, _LARGEST = 1e-3, 1e3
_GRID = 101


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedQuantileTemperature(Fitted):
    """softmax(β z), β read off a table of the predicted class's log-odds."""

    calibrator = "quantile_temperature"
    log_odds: Float64
    inverse_temperatures: Float64
    n_knots: int

    def formula(self, ops: Ops, z: Any) -> Any:
        """Multiply each row by its own inverse temperature."""
        _, odds, _ = top_log_odds(ops, z)
        scale = interpolate(ops, odds, "inverse_temperature", self.log_odds, self.inverse_temperatures)
        return ops.softmax(z * scale)

    def problems(self) -> Problems:
        """What its parameters must keep."""
        same = self.log_odds.ndim == 1 and self.log_odds.shape == self.inverse_temperatures.shape
        yield same and len(self.log_odds) > 0, "log_odds and inverse_temperatures do not make a table"
        yield bool((np.diff(self.log_odds) >= 0).all()), "log_odds are not in order"
        yield bool((self.inverse_temperatures > 0).all()), "an inverse temperature is not above 0"
        yield self.n_knots >= 2, f"n_knots is {self.n_knots}"

    @property
    def n_parameters(self) -> int:
        """One a knot."""
        return self.n_knots


@calibrator("quantile_temperature")
@dataclass(frozen=True)
class QuantileTemperature(Method):
    r"""softmax(z / T(u)), T a monotone function of the quantile u of the item's confidence.

    1/T is piecewise linear in u between equally spaced knots, and either nowhere falling or nowhere
    rising. The loss is convex in 1/T in both cases; the better of the two minima is taken. u is
    read off 101 quantiles of the calibration split's top-label log-odds.

    Parameters
    ----------
    n_knots
        Number of knots, from 2 up.

    Notes
    -----
    No paper is followed to the letter: this is temperature scaling (Guo et al. 2017) made adaptive
    by the rank of the confidence, so that the scale of the logits does not matter.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(1000, 3)) * 3
    >>> y = np.array([rng.choice(3, p=p) for p in FittedQuantileTemperature(
    ...     log_odds=np.array([0.0, 6.0]), inverse_temperatures=np.array([1.0, 0.5]), n_knots=2)(z)])
    >>> fitted = QuantileTemperature().fit(z, y)
    >>> bool(fitted.inverse_temperatures[0] > fitted.inverse_temperatures[-1])
    True
    """

    fit_type = FittedQuantileTemperature
    source = "temperature scaling (Guo et al. 2017) by quantile of confidence"
    preserves_prediction = True

    n_knots: int = 5

    @property
    def cross_fits(self) -> bool:
        """Five numbers are little to learn."""
        return self.n_knots <= 5

    def __post_init__(self) -> None:
        if not isinstance(self.n_knots, int) or self.n_knots < 2:
            raise InputError(f"quantile_temperature: n_knots is {self.n_knots!r}; use an integer from 2 up")

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedQuantileTemperature:
        """Find T(u); raises :class:`InputError` with fewer samples than knots."""
        data = check_fit(logits, labels, context)
        check_enough(data, self.n_knots, "quantile_temperature")
        _, odds, _ = top_log_odds(NUMPY, data.logits.astype(np.float64))
        levels = np.linspace(0, 1, _GRID)
        grid, places = np.unique(np.quantile(odds[:, 0], levels), return_inverse=True)
        # Tied quantiles: the knot stands for the middle of the levels that share it.
        quantiles = np.bincount(places, levels) / np.bincount(places)
        basis = _hats(np.interp(odds[:, 0], grid, quantiles), self.n_knots)
        start = 1 / fit_temperature(data)[0]
        rising, falling = (self._fit(data, basis, start, order) for order in (1, -1))
        solution, knots = min(rising, falling, key=lambda pair: pair[0].value)
        return FittedQuantileTemperature(
            log_odds=grid,
            inverse_temperatures=_hats(quantiles, self.n_knots) @ knots,
            n_knots=self.n_knots,
            warnings=not_converged(solution) + _at_bounds(solution),
        )

    def _fit(self, data: FitData, basis: Float64, start: float, order: int) -> tuple[Solution, Float64]:
        m = self.n_knots
        climb = np.tril(np.ones((m, m)))[::order]  # knots = climb @ (least, increments >= 0)
        first = np.zeros(m)
        first[0] = start
        lower = np.zeros(m)
        lower[0] = _SMALLEST
        features = basis @ climb
        solution = projected_newton(
            lambda x: monotone_loss(data, features, x), first, lower=lower, upper=_LARGEST
        )
        return solution, climb @ solution.x


def monotone_loss(data: FitData, features: Float64, x: Float64) -> tuple[float, Float64, Float64]:
    """Mean loss of softmax(z (features @ x)), its gradient and Hessian by x."""
    loss, first, second = scale_derivatives(data, features @ x)
    n = data.n_samples
    return float(loss.mean()), features.T @ first / n, (features.T * second) @ features / n


def _hats(quantiles: Float64, n_knots: int) -> Float64:
    """Weights ``(n, n_knots)`` of linear interpolation between equally spaced knots on [0, 1]."""
    place = np.clip(quantiles, 0, 1) * (n_knots - 1)
    return np.asarray(np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(n_knots))))


def _at_bounds(solution: Solution) -> tuple[str, ...]:
    if solution.x[0] > _SMALLEST and solution.x.max() < _LARGEST:
        return ()
    warning = (
        f"an inverse temperature ran to its bound [{_SMALLEST:g}, {_LARGEST:g}]: part of the calibration"
        " split is separable or no better than chance"
    )
    return (warning,)
