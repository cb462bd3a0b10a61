"""Scaling-binning: a fitted curve, made discrete so that its calibration can be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import NUMPY, Ops, sigmoid
from calbench.calibrators._confidence import (
    ConfidenceFit,
    Form,
    Samples,
    check_form,
    confidence_samples,
    one_sided,
    samples,
)
from calbench.calibrators._inputs import check_fit
from calbench.calibrators._interface import CalibrationContext, Needs
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

    @property
    def n_parameters(self) -> int:
        """The curves' two and the levels, of all maps."""
        return 2 * len(self.slope) + sum(map(len, self.values))


@calibrator("scaling_binning")
@dataclass(frozen=True)
class ScalingBinning:
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

    needs: ClassVar[Needs] = "top-label"
    needs_epsilon: ClassVar[bool] = False
    preserves_prediction: ClassVar[bool] = False
    source: ClassVar[str] = "Kumar, Liang, Ma 2019, Verified Uncertainty Calibration (NeurIPS)"
    from_dict = FittedScalingBinning.from_dict

    n_bins: int = 15
    form: Form = "top-label"

    def __post_init__(self) -> None:
        check_form(self.form, "scaling_binning")
        check_bins(self.n_bins, "scaling_binning")

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedScalingBinning:
        """Fit each map; raises :class:`InputError` for data that cannot be used."""
        data = check_fit(logits, labels, context)
        return self._fit(samples(data, self.form), self.form, data.n_classes)

    def fit_confidences(self, confidences: npt.ArrayLike, correct: npt.ArrayLike) -> FittedScalingBinning:
        """Fit the top-label map where only confidences and correctness are known."""
        return self._fit([confidence_samples(confidences, correct)], "top-label", None)

    def _fit(self, maps: list[Samples], form: str, n_classes: int | None) -> FittedScalingBinning:
        curves = [fit_platt(s, smooth=False) for s in maps]
        tables = [self._table(s, c.x) for s, c in zip(maps, curves, strict=True)]
        slope, intercept = np.stack([c.x for c in curves], axis=1)
        return FittedScalingBinning(
            form=form,
            slope=slope,
            intercept=intercept,
            edges=tuple(edges for edges, _ in tables),
            values=tuple(values for _, values in tables),
            n_classes=None if form == "top-label" else n_classes,
            warnings=one_sided(maps) + tuple(w for c in curves for w in not_converged(c)),
        )

    def _table(self, data: Samples, curve: Float64) -> tuple[Float64, Float64]:
        scaled = sigmoid(NUMPY, data.log_odds * curve[0] + curve[1])
        edges = equal_mass_edges(scaled, self.n_bins)
        index = np.searchsorted(edges, scaled, side="left")
        return edges, bin_means(index, scaled, np.full(len(edges) + 1, np.nan))
