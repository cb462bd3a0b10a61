"""Histogram binning: each bin's confidence becomes its accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

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
from calbench.calibrators._fitted import Problems, table_problems
from calbench.calibrators._steps import bin_means, certain, check_bins, equal_mass_edges, step
from calbench.errors import InputError
from calbench.records import Float64


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedHistogram(ConfidenceFit):
    """A level for each bin, one table a map."""

    calibrator = "histogram"
    edges: tuple[Float64, ...]
    values: tuple[Float64, ...]

    def map(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Look up the bin's level."""
        return step(ops, sigmoid(ops, log_odds), f"map_{number}", self.edges[number], self.values[number])

    def problems(self) -> Problems:
        """What its maps must keep."""
        yield from super().problems()
        yield len(self.edges) == len(self.values) == self.n_maps, f"there are not {self.n_maps} maps"
        for edges, values in zip(self.edges, self.values, strict=True):
            yield from table_problems(edges, values, more=1)

    @property
    def n_parameters(self) -> int:
        """Levels of all maps."""
        return sum(map(len, self.values))


@calibrator("histogram")
@dataclass(frozen=True)
class Histogram(ConfidenceMethod):
    r"""Histogram binning: a bin's calibrated probability is the share of its samples that came true.

    Bins are closed on the right and the first contains 0. A bin without samples keeps its middle.

    Parameters
    ----------
    n_bins
        Number of bins a map.
    strategy
        ``"quantile"`` (equally many samples a bin) or ``"uniform"`` (equal widths).
    form
        ``"one-vs-rest"`` (a map a class, then renormalisation) or ``"top-label"``.

    References
    ----------
    Zadrozny, Elkan: Obtaining calibrated probability estimates, ICML 2001; Guo et al., ICML 2017,
    section 4.2.

    Examples
    --------
    >>> fitted = Histogram(n_bins=2).fit_confidences([0.5, 0.6, 0.8, 0.9], [False, True, True, True])
    >>> fitted.confidences([0.55, 0.7, 0.71]).tolist()
    [0.5, 0.5, 1.0]
    """

    fit_type = FittedHistogram
    source = "Zadrozny, Elkan 2001, Obtaining calibrated probability estimates (ICML)"

    n_bins: int = 15
    strategy: Literal["quantile", "uniform"] = "quantile"
    form: Form = "one-vs-rest"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bins(self.n_bins, "histogram")
        if self.strategy not in ("quantile", "uniform"):
            raise InputError(f"histogram: strategy is {self.strategy!r}; use 'quantile' or 'uniform'")

    def fit_maps(self, maps: list[Samples], form: Form, n_classes: int | None) -> FittedHistogram:
        """Fit each map."""
        edges, values = zip(*map(self._table, maps), strict=True)
        return FittedHistogram(
            form=form,
            edges=edges,
            values=values,
            n_classes=n_classes,
            warnings=one_sided(maps) + certain(values),
        )

    def _table(self, data: Samples) -> tuple[Float64, Float64]:
        x = data.probs
        if self.strategy == "uniform":
            edges = np.arange(1, self.n_bins) / self.n_bins
        else:
            edges = equal_mass_edges(x, self.n_bins)
        index = np.searchsorted(edges, x, side="left")
        bounds = np.concatenate([[0.0], edges, [1.0]])
        return edges, bin_means(index, data.happened.astype(np.float64), (bounds[1:] + bounds[:-1]) / 2)
