"""Isotonic regression: the best non-decreasing map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import Ops, sigmoid
from calbench.calibrators._confidence import (
    ConfidenceFit,
    ConfidenceMethod,
    Form,
    Samples,
    one_sided,
)
from calbench.calibrators._fitted import Problems, table_problems
from calbench.calibrators._steps import certain, interpolate
from calbench.records import Float64


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedIsotonic(ConfidenceFit):
    """Straight lines between points (p, q), one table a map."""

    calibrator = "isotonic"
    knots: tuple[Float64, ...]
    values: tuple[Float64, ...]

    def map(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Interpolate."""
        name = f"map_{number}"
        return interpolate(ops, sigmoid(ops, log_odds), name, self.knots[number], self.values[number])

    def problems(self) -> Problems:
        """What its maps must keep."""
        yield from super().problems()
        yield len(self.knots) == len(self.values) == self.n_maps, f"there are not {self.n_maps} maps"
        for knots, values in zip(self.knots, self.values, strict=True):
            yield from table_problems(knots, values, more=0)
            yield len(knots) > 0 and bool((np.diff(values) >= 0).all()), "a table is not in order"

    @property
    def n_parameters(self) -> int:
        """Distinct levels of all maps."""
        return sum(len(np.unique(v)) for v in self.values)


@calibrator("isotonic")
@dataclass(frozen=True)
class Isotonic(ConfidenceMethod):
    r"""Isotonic regression: the non-decreasing map of least squared error, by pool-adjacent-violators.

    Equal probabilities are pooled first; between the points of the solution the map is linear, and
    beyond them constant.

    Parameters
    ----------
    form
        ``"one-vs-rest"`` (the authors' own for several classes: a map a class, then
        renormalisation) or ``"top-label"``.

    References
    ----------
    Zadrozny, Elkan: Transforming classifier scores into accurate multiclass probability
    estimates, KDD 2002.

    Examples
    --------
    >>> fitted = Isotonic().fit_confidences([0.5, 0.6, 0.7, 0.8], [False, True, False, True])
    >>> fitted.confidences([0.5, 0.65, 0.75]).round(3).tolist()
    [0.0, 0.5, 0.75]
    """

    fit_type = FittedIsotonic
    source = "Zadrozny, Elkan 2002, Transforming classifier scores (KDD)"

    form: Form = "one-vs-rest"

    def fit_maps(self, maps: list[Samples], form: Form, n_classes: int | None) -> FittedIsotonic:
        """Fit each map."""
        knots, values = zip(*(fit_isotonic(s.probs, s.happened) for s in maps), strict=True)
        return FittedIsotonic(
            form=form,
            knots=knots,
            values=values,
            n_classes=n_classes,
            warnings=one_sided(maps) + certain(values),
        )


def fit_isotonic(x: Float64, happened: npt.NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """Points (x, y) of the solution, with those inside a level left out."""
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0]))
    weights = np.diff(np.append(starts, len(ordered))).astype(np.float64)
    means = np.add.reduceat(happened[order].astype(np.float64), starts) / weights
    y = scipy.optimize.isotonic_regression(means, weights=weights).x
    inner = np.zeros(len(y), dtype=bool)
    inner[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    return ordered[starts][~inner], np.asarray(y[~inner], dtype=np.float64)
