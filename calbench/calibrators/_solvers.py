"""Solvers of the small problems that calibration poses: Newton's method, to 1e-10 in the gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy

from calbench.records import Float64

TOLERANCE = 1e-10
_MOST_DIRECTIONS = 32
Smooth = Callable[[Float64], tuple[float, Float64, Float64]]


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a solver stopped.

    ``gradient_norm`` is the largest absolute entry of the gradient over what is not held by a
    bound; ``converged`` says that it is at most the tolerance.
    """

    x: Float64
    value: float
    gradient_norm: float
    n_iterations: int
    converged: bool


def not_converged(solution: Solution) -> tuple[str, ...]:
    """Word the warning for a fit whose solver stopped early; empty if it did not."""
    if solution.converged:
        return ()
    warning = (
        f"the fit stopped after {solution.n_iterations} iterations with a gradient of"
        f" {solution.gradient_norm:.1e} (wanted {TOLERANCE:.0e}); its parameters are approximate"
    )
    return (warning,)


def increasing_root(
    function: Callable[[float], tuple[float, float, float]],
    lower: float,
    upper: float,
    start: float,
    *,
    close: float = 1e-4,
) -> tuple[float, bool]:
    """Root of an increasing function on ``[lower, upper]`` (both > 0), by Halley inside a bracket.

    Parameters
    ----------
    function
        Returns the value and two derivatives.
    lower, upper, start
        The interval, and where to begin in it.
    close
        A step of this share of x is the last. Halley's error is of the order of the step's cube,
        so the default leaves 1e-12 without paying for one more evaluation to see it. A function
        that is tiny but has farther to go is none of its roots, but on its way to one, or to 0 at
        infinity.

    Returns
    -------
    tuple
        The root, or the bound that it lies beyond, and whether it is a root.
    """
    low, high, x = lower, upper, start
    for _ in range(200):
        value, slope, bend = function(x)
        tiny = abs(x * value) <= TOLERANCE
        if tiny and slope > 0 and abs(value) <= close * x * slope:
            return x, True
        if (x == lower and value > 0) or (x == upper and value <= 0):
            return x, False
        low, high = (x, high) if value <= 0 else (low, x)
        step = _halley(value, slope, bend)
        if low < x + step < high and not tiny:
            x += step
            if abs(step) <= close * x:
                return x, True
        elif value <= 0 and high == upper:
            x = upper  # nothing is known to the right, or all is tiny: try the end at once
        elif value > 0 and low == lower:
            x = lower
        else:
            x = float(np.sqrt(low * high))
        if high - low <= 4 * np.finfo(float).eps * high:
            break
    return x, False


def _halley(value: float, slope: float, bend: float) -> float:
    if slope <= 0:
        return -np.inf if value > 0 else np.inf
    newton = -value / slope
    # The correction for curvature holds near the root only.
    return newton / max(0.5, min(2.0, 1 + newton * bend / (2 * slope)))


def projected_newton(
    objective: Smooth,
    start: npt.ArrayLike,
    *,
    lower: npt.ArrayLike = -np.inf,
    upper: npt.ArrayLike = np.inf,
    tolerance: float = TOLERANCE,
    max_iterations: int = 200,
) -> Solution:
    """Minimise a smooth function of a few variables between bounds.

    Newton's method on the variables that no bound holds (Bertsekas 1982), with steps halved until
    the objective falls. Where the Hessian is not positive definite its eigenvalues' absolute values
    are used, so a local minimum of a function that is not convex is found too.

    Parameters
    ----------
    objective
        Returns value, gradient ``(m,)`` and Hessian ``(m, m)``.
    start
        ``(m,)``; moved inside the bounds.
    """
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    x = np.clip(np.array(start, dtype=np.float64), low, high)
    value, gradient, hessian = objective(x)
    for iteration in range(max_iterations):
        held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        norm = float(np.max(np.abs(gradient[~held]), initial=0.0))
        if norm <= tolerance:
            return Solution(x, value, norm, iteration, converged=True)
        direction = np.zeros_like(x)
        direction[~held] = -_solve(hessian[np.ix_(~held, ~held)], gradient[~held])
        size = 1.0
        while True:
            tried = np.clip(x + size * direction, low, high)
            result = objective(tried)
            slack = 1e-15 * max(1.0, abs(value))  # near the end the fall drowns in rounding
            if result[0] <= value + 1e-4 * float(gradient @ (tried - x)) + slack:
                break
            size /= 2
            if size < 1e-12:
                return Solution(x, value, norm, iteration, converged=False)
        x, (value, gradient, hessian) = tried, result
    return Solution(x, value, norm, max_iterations, converged=False)


def _solve(matrix: Float64, vector: Float64) -> Float64:
    try:
        factor = np.linalg.cholesky(matrix)
        half = scipy.linalg.solve_triangular(factor, vector, lower=True)
        return np.asarray(scipy.linalg.solve_triangular(factor, half, lower=True, trans="T"))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        floor = max(1e-10 * float(np.abs(values).max(initial=0.0)), 1e-300)
        return np.asarray(vectors @ ((vectors.T @ vector) / np.maximum(np.abs(values), floor)))


class Convex(Protocol):
    """A smooth convex function of many variables, for :func:`newton_cg`."""

    def evaluate(self, x: Float64) -> tuple[float, Float64]:
        """Value and gradient; what the next two calls need is kept from here."""
        ...

    def curvature(self, direction: Float64) -> Float64:
        """Hessian times a direction, at the last point evaluated."""
        ...

    def precondition(self) -> Callable[[Float64], Float64]:
        """Return an approximate inverse Hessian at about the last point evaluated, as a function."""
        ...


def newton_cg(problem: Convex, start: Float64, *, max_iterations: int = 100) -> Solution:
    """Minimise a convex function of many variables, to 1e-10 in the gradient.

    Newton's method, its linear systems solved by preconditioned conjugate gradients only as far as
    the distance to the minimum warrants (Nocedal and Wright 2006, algorithm 7.1). What one system
    showed of the Hessian helps to solve the next (Morales and Nocedal 2000, Automatic
    Preconditioning by Limited Memory Quasi-Newton Updating).
    """
    x = start
    value, gradient = problem.evaluate(x)
    known = _Directions()
    for iteration in range(max_iterations):
        norm = float(np.abs(gradient).max())
        if norm <= TOLERANCE:
            return Solution(x, value, norm, iteration, converged=True)
        forcing = max(1e-4, 0.1 * TOLERANCE / norm, min(0.1, norm**0.5))
        step, known = _conjugate_gradients(
            problem, gradient, known.around(problem.precondition()), forcing=forcing
        )
        fall = float(np.vdot(gradient, step))
        size = 1.0
        slack = 1e-15 * max(1.0, abs(value))
        while True:
            tried, tried_gradient = problem.evaluate(x + size * step)
            if tried <= value + 1e-4 * size * fall + slack:
                break
            size /= 2
            if size < 1e-10:
                return Solution(x, value, norm, iteration, converged=False)
        x, value, gradient = x + size * step, tried, tried_gradient
    return Solution(x, value, float(np.abs(gradient).max()), max_iterations, converged=False)


class _Directions:
    """Directions in which the Hessian is known, conjugate to each other; none if they were too many.

    Rounding makes a direction lose its conjugacy to those long before it.
    """

    def __init__(self) -> None:
        self.n_seen = 0
        self.directions: list[Float64] = []
        self.images: list[Float64] = []  # the Hessian times each
        self.curvatures: list[float] = []

    def add(self, direction: Float64, image: Float64, curvature: float) -> None:
        self.n_seen += 1
        if self.n_seen > _MOST_DIRECTIONS:
            for kept in (self.directions, self.images, self.curvatures):
                kept.clear()
            return
        self.directions.append(direction.ravel())
        self.images.append(image.ravel())
        self.curvatures.append(curvature)

    def around(self, inverse: Callable[[Float64], Float64]) -> Callable[[Float64], Float64]:
        """Return an inverse Hessian that is right in the known directions, and as given elsewhere.

        The update of BFGS, for all directions at once since they are conjugate.
        """
        if not self.directions:
            return inverse
        directions, images = np.array(self.directions), np.array(self.images)
        curvatures = np.array(self.curvatures)

        def better(v: Float64) -> Float64:
            along = directions @ v.ravel() / curvatures
            rest = inverse(v - (along @ images).reshape(v.shape))
            along -= images @ rest.ravel() / curvatures
            return np.asarray(rest + (along @ directions).reshape(v.shape))

        return better


def _conjugate_gradients(
    problem: Convex, gradient: Float64, apply_inverse: Callable[[Float64], Float64], *, forcing: float
) -> tuple[Float64, _Directions]:
    """Approximately solve H step = -gradient; returns the step, and what the Hessian was seen to do."""
    seen = _Directions()
    step, residual = np.zeros_like(gradient), -gradient
    scaled = apply_inverse(residual)
    direction, product = scaled, float(np.vdot(residual, scaled))
    goal = max(forcing**2 * product, 1e-300)
    for _ in range(500):
        image = problem.curvature(direction)
        curvature = float(np.vdot(direction, image))
        if curvature <= 0:  # a flat direction, to rounding
            break
        seen.add(direction, image, curvature)
        size = product / curvature
        step = step + size * direction
        residual = residual - size * image
        scaled = apply_inverse(residual)
        previous, product = product, float(np.vdot(residual, scaled))
        if product <= goal:
            break
        direction = scaled + product / previous * direction
    return (step if step.any() else -gradient), seen
