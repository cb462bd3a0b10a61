"""Platt scaling: a logistic curve of the log-odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import Ops, sigmoid
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
from calbench.records import Float64


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedPlatt(ConfidenceFit):
    """σ(a logit(p) + b), one (a, b) a map."""

    calibrator = "platt"
    slope: Float64
    intercept: Float64

    def map(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Apply the logistic curve."""
        return sigmoid(ops, self._curve(ops, log_odds, number))

    def rest(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Apply it to the other side, where nothing is lost close to 1."""
        return sigmoid(ops, -self._curve(ops, log_odds, number))

    def _curve(self, ops: Ops, log_odds: Any, number: int) -> Any:
        slope = ops.constant(f"slope_{number}", self.slope[number])
        return log_odds * slope + ops.constant(f"intercept_{number}", self.intercept[number])

    def problems(self) -> Problems:
        """What its maps must keep."""
        yield from super().problems()
        yield self.slope.shape == self.intercept.shape == (self.n_maps,), f"there are not {self.n_maps} maps"

    @property
    def n_parameters(self) -> int:
        """Two a map."""
        return 2 * len(self.slope)


@calibrator("platt")
@dataclass(frozen=True)
class Platt(ConfidenceMethod):
    r"""Platt scaling of the log-odds: σ(a logit(p) + b), by maximum likelihood.

    Targets are Platt's (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2) rather than 1 and 0, so that there is a
    finite optimum even if every prediction is right.

    Parameters
    ----------
    form
        ``"top-label"`` or ``"one-vs-rest"``.

    References
    ----------
    Platt: Probabilistic Outputs for Support Vector Machines, 1999.

    Examples
    --------
    >>> fitted = Platt().fit_confidences([0.9] * 98, [True] * 49 + [False] * 49)
    >>> fitted.confidences([0.9]).round(3).tolist()
    [0.5]
    """

    fit_type = FittedPlatt
    source = "Platt 1999, Probabilistic Outputs for Support Vector Machines"

    form: Form = "top-label"

    @property
    def cross_fits(self) -> bool:
        """One map is little to learn; a map per class is not."""
        return self.form == "top-label"

    def fit_maps(self, maps: list[Samples], form: Form, n_classes: int | None) -> FittedPlatt:
        """Fit each map."""
        solutions = [fit_platt(s) for s in maps]
        slope, intercept = np.stack([s.x for s in solutions], axis=1)
        warnings = one_sided(maps) + tuple(w for s in solutions for w in not_converged(s))
        return FittedPlatt(
            form=form,
            slope=slope,
            intercept=intercept,
            n_classes=n_classes,
            warnings=warnings,
        )


def fit_platt(data: Samples, *, smooth: bool = True) -> Solution:
    """Fit (a, b), with Platt's targets or (not ``smooth``) with 0 and 1."""
    positive = int(data.happened.sum())
    negative = len(data.happened) - positive
    high, low = ((positive + 1) / (positive + 2), 1 / (negative + 2)) if smooth else (1.0, 0.0)
    features = np.stack([data.log_odds, np.ones(len(data.log_odds))], axis=1)
    # The pull only decides what the data leave open, such as the slope if all log-odds are equal.
    targets = np.where(data.happened, high, low)
    return fit_logistic(features, targets, neutral=(1.0, 0.0), ridge=1e-9 if smooth else 1e-6)
