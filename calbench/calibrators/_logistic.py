"""Logistic regression on a few features, with bounds: what Platt scaling and beta calibration solve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calbench.calibrators._solvers import TOLERANCE, Solution, projected_newton
from calbench.records import Float64

_MANY = 5000


def fit_logistic(
    features: Float64,
    targets: Float64,
    *,
    neutral: npt.ArrayLike,
    ridge: float,
    lower: npt.ArrayLike = -np.inf,
) -> Solution:
    """Minimise mean(log(1 + eᵘ) − y u) + ridge/2 ‖θ − neutral‖², u = features @ θ, θ ≥ lower.

    Parameters
    ----------
    features
        ``(n, m)``, finite.
    targets
        y in [0, 1], ``(n,)``.
    """
    centre = np.asarray(neutral, dtype=np.float64)

    def minimise(every: int, start: npt.ArrayLike, tolerance: float) -> Solution:
        inputs, y = features[::every], targets[::every]

        def objective(theta: Float64) -> tuple[float, Float64, Float64]:
            loss, gradient, hessian = logistic_loss(inputs, y, theta)
            away = theta - centre
            pull = ridge / 2 * float(away @ away)
            return loss + pull, gradient + ridge * away, hessian + ridge * np.eye(len(theta))

        return projected_newton(objective, start, lower=lower, tolerance=tolerance)

    start: npt.ArrayLike = centre
    if len(targets) > _MANY:
        # A first guess from a tenth of the rows saves passes over all of them.
        start = minimise(10, centre, 1e-4).x
    return minimise(1, start, TOLERANCE)


def logistic_loss(features: Float64, targets: Float64, theta: Float64) -> tuple[float, Float64, Float64]:
    """Mean log-loss, its gradient and Hessian by θ."""
    u = features @ theta
    e = np.exp(-np.abs(u))  # one exponential serves the loss and both derivatives
    loss = np.maximum(u, 0.0) + np.log1p(e) - targets * u
    e1 = 1 + e
    curvature = e / (e1 * e1)
    p = np.where(u >= 0, 1.0, e) / e1
    n = len(u)
    gradient = (p - targets) @ features / n
    return float(loss.mean()), gradient, (features.T * curvature) @ features / n
