r"""How the items were drawn: alone or in clusters, from all or from each stratum, alike or weighted.

What is drawn at random is a *unit*: an item, or a cluster of items that share a passage, a document or a
question. With :math:`V_k` a unit's sum and :math:`n_k` its items (or their weight), a mean is
:math:`\sum_k V_k / \sum_k n_k`; its sampling error is that of the residuals
:math:`e_k = V_k - n_k \sum V / \sum n`, taken within each stratum:
:math:`\sum_h \frac{G_h}{G_h - 1} \sum_{k \in h} (e_k - \bar e_h)^2`. Without strata the factor is a unit's
own, :math:`1 / (1 - n_k / n)`, the same where units are equal.

References
----------
R. Bell and D. McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage samples",
Survey Methodology 28 (2002).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.metrics import check_sample_weight
from calbench.records import Float64

Codes = npt.NDArray[np.intp]
FEWEST_CLUSTERS = 10
_LEAST = 1e-12  # of what a unit that holds nearly all leaves to others


@dataclass(frozen=True, eq=False)
class Design:
    """Which items were sampled together, in the order in which they are measured.

    Attributes
    ----------
    n_items
        Number of items.
    clusters : (n,) int or None
        The sampled unit of each item, from 0; None where each item is one.
    strata : (n,) int or None
        The fixed group of each item, from 0: all groups that there are, so none is a matter of chance.
    weights : (n,) float64 or None
        What each item counts; the mean is 1.
    """

    n_items: int
    clusters: Codes | None = None
    strata: Codes | None = None
    weights: Float64 | None = None

    @classmethod
    def of(
        cls,
        n_items: int,
        *,
        clusters: Iterable[object] | None = None,
        strata: Iterable[object] | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Design:
        """Check what is said of the items, row by row.

        Raises
        ------
        InputError
            There is not one value an item, a cluster lies in two strata, or a stratum holds a single unit.
        """
        weights = None
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, n_items)
            weights = weights * (n_items / weights.sum())
        units = _codes(clusters, n_items, "clusters")
        groups = _codes(strata, n_items, "strata")
        design = cls(n_items, units, groups, weights)
        if groups is not None:
            design._check_strata()
        return design

    def reordered(self, rows: Codes) -> Design:
        """Return the design of all rows in another order."""
        clusters = None if self.clusters is None else self.clusters[rows]
        strata = None if self.strata is None else self.strata[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Design(len(rows), clusters, strata, weights)

    @property
    def plain(self) -> bool:
        """Whether items were drawn one by one from all there are, and count alike."""
        return self.clusters is None and self.strata is None and self.weights is None

    @cached_property
    def units(self) -> Codes:
        """Unit of each item, ``(n,)``."""
        return np.arange(self.n_items) if self.clusters is None else self.clusters

    @cached_property
    def n_units(self) -> int:
        """Number of units that were drawn."""
        return self.n_items if self.clusters is None else int(self.clusters.max()) + 1

    @property
    def too_few(self) -> bool:
        """Whether there are too few clusters to decide anything."""
        return self.clusters is not None and self.n_units < FEWEST_CLUSTERS

    @property
    def unseen(self) -> float:
        """Items that one more change that was not seen would stand for."""
        return 1.0

    @cached_property
    def sizes(self) -> Float64:
        """Items of each unit, or their weight, ``(n_units,)``."""
        sizes = np.bincount(self.units, weights=self.weights, minlength=self.n_units)
        return sizes.astype(np.float64, copy=False)

    @cached_property
    def unit_strata(self) -> Codes:
        """Stratum of each unit, ``(n_units,)``."""
        found = np.zeros(self.n_units, dtype=np.intp)
        if self.strata is not None:
            found[self.units] = self.strata
        return found

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all of it."""
        parts = (b"-" if a is None else a.tobytes() for a in (self.clusters, self.strata, self.weights))
        return hashlib.sha256(b"\x00".join(parts)).hexdigest()

    def quantile(self, share: float) -> float:
        """Return the quantile of an estimate in its standard errors: Student's where units are few."""
        return float(scipy.special.ndtri(share) if self.plain else scipy.special.stdtrit(self.freedom, share))

    @cached_property
    def freedom(self) -> float:
        r"""Degrees of freedom of the variance that the units show.

        Of :math:`G` equal units :math:`G - 1`, and one less for each further stratum. Of unequal ones fewer:
        a variance that rests on a few large units is known as badly as if there were only those (Bell and
        McCaffrey 2002, with errors of units that grow as their sizes).
        """
        variances = self.sizes**2
        if self.strata is not None:
            effective = variances.sum() ** 2 / (variances @ variances)
            return float(max(effective - (int(self.unit_strata.max()) + 1), 1.0))
        # With K = (I - 1h')A(I - h1'), A the factors and W the errors' variances: tr(WK)² / tr(WKWK).
        factors, pulls = self.factors, self.factors * self.shares
        together = float(pulls @ self.shares)
        mean = float(variances @ (factors - 2 * pulls + together))
        alone = float(variances**2 @ (factors * (factors + 2 * (together - 2 * pulls))))
        whole, first, second = (float(variances @ x) for x in (np.ones_like(pulls), pulls, pulls**2))
        shared = (together * whole) ** 2 + 2 * whole * second - 4 * together * whole * first + 2 * first**2
        return max(mean**2 / (alone + shared), 1.0) if alone + shared > 0 else 1.0

    @cached_property
    def shares(self) -> Float64:
        """Each unit's share of the items, or of their weight, ``(n_units,)``."""
        return np.asarray(self.sizes / self.sizes.sum())

    def unit_sums(self, values: Float64) -> Float64:
        """Return the weighted sum of item values ``(n,)`` in each unit."""
        weighted = values if self.weights is None else values * self.weights
        if self.clusters is None:
            return weighted
        return np.asarray(np.bincount(self.clusters, weights=weighted), dtype=np.float64)

    @cached_property
    def factors(self) -> Float64:
        """What makes up for the degree of freedom that each stratum's mean costs, ``(n_units,)``.

        G / (G - 1) of G equal units; a larger one pulls the mean towards itself, and shows less of its error.
        """
        if self.plain:
            return np.ones(self.n_units)
        if self.strata is None:
            return np.asarray(1 / np.maximum(1 - self.shares, _LEAST))
        counts = np.bincount(self.unit_strata)
        return np.asarray((counts / np.maximum(counts - 1, 1))[self.unit_strata])

    def residuals(self, unit_sums: Float64) -> Float64:
        """Return what units ``(n_units,)`` add to a sum's error; their squares add up to its variance."""
        residuals = unit_sums - self.sizes * (unit_sums.sum() / self.sizes.sum())
        if self.strata is None:
            return np.asarray(residuals * np.sqrt(self.factors))
        means = np.bincount(self.unit_strata, weights=residuals) / np.bincount(self.unit_strata)
        return np.asarray((residuals - means[self.unit_strata]) * np.sqrt(self.factors))

    def variance(self, unit_sums: Float64) -> float:
        """Return the variance of a sum of units ``(n_units,)`` as an estimate of a mean times n."""
        residuals = self.residuals(unit_sums)
        return float(residuals @ residuals)

    def effect(self, values: Float64) -> float:
        """Return the design effect: the variance of a mean over that of as many independent items."""
        alone = self.n_items * float(np.var(values))
        return self.variance(self.unit_sums(values)) / alone if alone > 0 else 1.0

    def drawn(self, n_resamples: int, rng: np.random.Generator) -> npt.NDArray[np.unsignedinteger]:
        """Draw how often each item appears, ``(n, n_resamples)``: whole units, within their strata."""
        counts = np.empty((self.n_units, n_resamples), dtype=np.uint8)
        for stratum in range(int(self.unit_strata.max()) + 1):
            rows = np.flatnonzero(self.unit_strata == stratum)
            counts[rows] = multinomial(len(rows), n_resamples, rng)
        return counts if self.clusters is None else counts[self.clusters]

    def _check_strata(self) -> None:
        if self.strata is None:
            return
        stray = self.unit_strata[self.units] != self.strata
        if stray.any():
            row = int(np.argmax(stray))
            raise InputError(
                f"the cluster of row {row} lies in two strata; a cluster is drawn from one stratum:"
                " name clusters within strata, or pass the strata as clusters"
            )
        counts = np.bincount(self.unit_strata)
        if counts.min() < 2:
            unit = int(np.argmin(counts[self.unit_strata]))
            row = int(np.argmax(self.units == unit))
            raise InputError(
                f"the stratum of row {row} holds a single unit, which shows no sampling error; merge it with"
                " another stratum, or pass the strata as clusters"
            )


def multinomial(n: int, n_resamples: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw ``n`` of ``n`` units with replacement, ``n_resamples`` times: counts ``(n, n_resamples)``."""
    index = np.uint16 if n <= 2**16 else np.int64
    counts = np.empty((n, n_resamples), dtype=np.uint8)
    step = max(1, _CHUNK_ELEMENTS // n)
    for start in range(0, n_resamples, step):
        width = min(step, n_resamples - start)
        flat = rng.integers(n, size=(n, width), dtype=index).astype(np.intp)
        flat *= width
        flat += np.arange(width)
        # 256 draws of one item have a probability below 1e-500.
        counts[:, start : start + width] = np.bincount(flat.ravel(), minlength=n * width).reshape(n, width)
    return counts


_CHUNK_ELEMENTS = 400_000  # drawn at a time


def _codes(values: Iterable[object] | None, n_items: int, what: str) -> Codes | None:
    if values is None:
        return None
    names = np.array([str(value) for value in values])
    if len(names) != n_items:
        raise InputError(f"{what} has {len(names)} values for {n_items} items; give one an item")
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.intp)
