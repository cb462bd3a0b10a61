"""Beta calibration: a three-parameter curve that contains the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import NUMPY, Ops, sigmoid, softplus
from calbench.calibrators._confidence import (
    ConfidenceFit,
    ConfidenceMethod,
    Form,
    Samples,
    one_sided,
)
from calbench.calibrators._fitted import Problems
from calbench.calibrators._logistic import fit_logistic
from calbench.calibrators._solvers import Solution, not_converged
from calbench.errors import InputError
from calbench.records import Float64

_RIDGE = 1e-6


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedBeta(ConfidenceFit):
    """σ(a ln p − b ln(1 − p) + c), one (a, b, c) a map."""

    calibrator = "beta"
    a: Float64
    b: Float64
    c: Float64
    n_free: int

    def map(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Apply the beta curve."""
        return sigmoid(ops, self._curve(ops, log_odds, number))

    def rest(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Apply it to the other side, where nothing is lost close to 1."""
        return sigmoid(ops, -self._curve(ops, log_odds, number))

    def _curve(self, ops: Ops, log_odds: Any, number: int) -> Any:
        a, b, c = (ops.constant(f"{name}_{number}", getattr(self, name)[number]) for name in "abc")
        return b * softplus(ops, log_odds) - a * softplus(ops, -log_odds) + c

    def problems(self) -> Problems:
        """What its maps must keep."""
        yield from super().problems()
        yield (
            self.a.shape == self.b.shape == self.c.shape == (self.n_maps,),
            f"there are not {self.n_maps} maps",
        )
        yield bool((self.a >= 0).all() and (self.b >= 0).all()), "a or b is below 0"
        yield self.n_free in (2, 3), f"n_free is {self.n_free}"

    @property
    def n_parameters(self) -> int:
        """Three a map (abm), or two (am, ab)."""
        return self.n_free * len(self.a)


@calibrator("beta")
@dataclass(frozen=True)
class Beta(ConfidenceMethod):
    r"""Beta calibration: logit q = a ln p − b ln(1 − p) + c with a, b ≥ 0, by maximum likelihood.

    Parameters
    ----------
    parameters
        ``"abm"``: all three; ``"am"``: a = b; ``"ab"``: the curve passes through (1/2, 1/2), that
        is c = (a − b) ln 2.
    form
        ``"top-label"`` or ``"one-vs-rest"``.

    References
    ----------
    Kull, Silva Filho, Flach: Beta calibration, AISTATS 2017, eq. 2 and section 3.3.

    Examples
    --------
    >>> fitted = Beta().fit_confidences([0.9, 0.6] * 50, ([True, False] * 25 + [True, True] * 25))
    >>> fitted.confidences([0.6]).round(3).tolist()
    [0.5]
    """

    fit_type = FittedBeta
    source = "Kull, Silva Filho, Flach 2017, Beta calibration (AISTATS)"

    parameters: Literal["abm", "am", "ab"] = "abm"
    form: Form = "top-label"

    @property
    def cross_fits(self) -> bool:
        """One map is little to learn; a map per class is not."""
        return self.form == "top-label"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parameters not in ("abm", "am", "ab"):
            raise InputError(f"beta: parameters is {self.parameters!r}; use 'abm', 'am' or 'ab'")

    def fit_maps(self, maps: list[Samples], form: Form, n_classes: int | None) -> FittedBeta:
        """Fit each map."""
        curves = [fit_beta(s, self.parameters) for s in maps]
        a, b, c = np.stack([abc for abc, _ in curves], axis=1)
        return FittedBeta(
            form=form,
            a=a,
            b=b,
            c=c,
            n_free=len(self.parameters),
            n_classes=n_classes,
            warnings=one_sided(maps) + tuple(w for _, s in curves for w in not_converged(s)),
        )


def fit_beta(data: Samples, parameters: str) -> tuple[Float64, Solution]:
    """Fit (a, b, c)."""
    low = -softplus(NUMPY, -data.log_odds)  # ln p
    high = softplus(NUMPY, data.log_odds)  # -ln(1 - p)
    ones = np.ones_like(low)
    y = data.happened.astype(np.float64)
    if parameters == "am":
        features = np.stack([low + high, ones], axis=1)
        solution = fit_logistic(features, y, neutral=(1, 0), ridge=_RIDGE, lower=(0, -np.inf))
        a, c = solution.x
        return np.array([a, a, c]), solution
    if parameters == "ab":
        features = np.stack([low + np.log(2), high - np.log(2)], axis=1)
        solution = fit_logistic(features, y, neutral=(1, 1), ridge=_RIDGE, lower=0)
        a, b = solution.x
        return np.array([a, b, (a - b) * np.log(2)]), solution
    features = np.stack([low, high, ones], axis=1)
    solution = fit_logistic(features, y, neutral=(1, 1, 0), ridge=_RIDGE, lower=(0, 0, -np.inf))
    return solution.x, solution
