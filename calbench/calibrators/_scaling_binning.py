"""Scaling-binning: a fitted curve, made discrete so that its calibration can be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import NUMPY, Ops, sigmoid
from calbench.calibrators._confidence import (
    ConfidenceFit,
    ConfidenceMethod,
    Form,
    Samples,
    one_sided,
)
from calbench.calibrators._fitted import Problems, table_problems
from calbench.calibrators._platt import fit_platt
from calbench.calibrators._solvers import not_converged
from calbench.calibrators._steps import bin_means, check_bins, equal_mass_edges, step
from calbench.records import Float64


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedScalingBinning(ConfidenceFit):
    """A logistic curve, then a level for each bin of its values; one of each a map."""

    calibrator = "scaling_binning"
    slope: Float64
    intercept: Float64
    edges: tuple[Float64, ...]
    values: tuple[Float64, ...]

    def map(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Apply the curve, then look up its bin's level."""
        slope = ops.constant(f"slope_{number}", self.slope[number])
        intercept = ops.constant(f"intercept_{number}", self.intercept[number])
        curve = sigmoid(ops, log_odds * slope + intercept)
        return step(ops, curve, f"map_{number}", self.edges[number], self.values[number])

    def problems(self) -> Problems:
        """What its maps must keep."""
        yield from super().problems()
        yield (
            self.slope.shape == self.intercept.shape == (self.n_maps,),
            f"there are not {self.n_maps} curves",
        )
        yield len(self.edges) == len(self.values) == self.n_maps, f"there are not {self.n_maps} maps"
        for edges, values in zip(self.edges, self.values, strict=True):
            yield from table_problems(edges, values, more=1)

    @property
    def n_parameters(self) -> int:
        """The curves' two and the levels, of all maps."""
        return 2 * len(self.slope) + sum(map(len, self.values))


@calibrator("scaling_binning")
@dataclass(frozen=True)
class ScalingBinning(ConfidenceMethod):
    r"""The scaling-binning calibrator: a Platt curve whose values are averaged within equal-mass bins.

    Its calibration error can be estimated, unlike that of a continuous map, at the variance of the
    curve rather than of a histogram. As in the authors' code all three steps use all samples.

    Parameters
    ----------
    n_bins
        Number of bins a map.
    form
        ``"top-label"`` or ``"one-vs-rest"``.

    References
    ----------
    Kumar, Liang, Ma: Verified Uncertainty Calibration, NeurIPS 2019, section 4.

    Examples
    --------
    >>> fitted = ScalingBinning(n_bins=1).fit_confidences([0.6, 0.9] * 2, [False, True, True, False])
    >>> fitted.confidences([0.6, 0.99]).round(3).tolist()
    [0.5, 0.5]
    """

    fit_type = FittedScalingBinning
    source = "Kumar, Liang, Ma 2019, Verified Uncertainty Calibration (NeurIPS)"

    n_bins: int = 15
    form: Form = "top-label"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bins(self.n_bins, "scaling_binning")

    def fit_maps(self, maps: list[Samples], form: Form, n_classes: int | None) -> FittedScalingBinning:
        """Fit each map."""
        curves = [fit_platt(s, smooth=False) for s in maps]
        tables = [self._table(s, c.x) for s, c in zip(maps, curves, strict=True)]
        slope, intercept = np.stack([c.x for c in curves], axis=1)
        return FittedScalingBinning(
            form=form,
            slope=slope,
            intercept=intercept,
            edges=tuple(edges for edges, _ in tables),
            values=tuple(values for _, values in tables),
            n_classes=n_classes,
            warnings=one_sided(maps) + tuple(w for c in curves for w in not_converged(c)),
        )

    def _table(self, data: Samples, curve: Float64) -> tuple[Float64, Float64]:
        scaled = sigmoid(NUMPY, data.log_odds * curve[0] + curve[1])
        edges = equal_mass_edges(scaled, self.n_bins)
        index = np.searchsorted(edges, scaled, side="left")
        return edges, bin_means(index, scaled, np.full(len(edges) + 1, np.nan))
