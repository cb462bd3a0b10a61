r"""Differences of two models where only some answers have labels: those that tell, and a sample of the rest.

All :math:`N` items were answered, so the confidences are known. Of the :math:`N_h` items of a stratum
:math:`n_h` have a label, drawn at random without replacement. A sum over the items is one of what is known
and of guesses whether answers are right, and one over the labels of what the guesses miss, each of which
stands for :math:`w_h = N_h / n_h` items (Horvitz and Thompson); it is unbiased however bad the guesses are.
Its variance has two parts: that of the items themselves, :math:`\sum_i (v_i - \bar v)^2`, as if all had
labels, and that of choosing which to label, :math:`\sum_h N_h^2 (1/n_h - 1/N_h) S_h^2` of the label's part
alone (double sampling for stratification). The latter is 0 where a label cannot matter: both models give the
same answer, and it counts in the same bin for both.

References
----------
D. Horvitz and D. Thompson, "A generalization of sampling without replacement from a finite universe", JASA 47
(1952); W. Cochran, "Sampling Techniques" (1977), 12.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy

from calbench.errors import InputError
from calbench.metrics import AbsoluteSums, Metric, Outcomes, get
from calbench.records import Bool, Float64
from calbench.statistics._bounds import unit_sum_bounds
from calbench.statistics._design import Codes, Design
from calbench.statistics._gate import Change
from calbench.statistics._interval_formulas import check_level, holding, rate_interval
from calbench.statistics._unit_sums import UnitSums

FEWEST_LABELS = 10  # of a stratum that is not labelled throughout: fewer show no spread


@dataclass(frozen=True, eq=False)
class LabelSample:
    """Two models' answers to all items, and which of some are right.

    Attributes
    ----------
    reference, candidate : (N,) float64
        Confidences.
    flips : (N,) bool
        Whether the two answer differently: the strata.
    rows : (n,) int
        Which items have a label.
    reference_correct, candidate_correct : (n,) bool
        Whether the answers to those are right.
    """

    reference: Float64
    candidate: Float64
    flips: Bool
    rows: Codes
    reference_correct: Bool
    candidate_correct: Bool

    def __post_init__(self) -> None:
        flipped = self.flips[self.rows]
        if (self.reference_correct != self.candidate_correct)[~flipped].any():
            raise InputError("an answer that both models give is right for both, or for neither")
        for there, labelled, what in zip(self.sizes, self.labelled, ("that flip", "the rest"), strict=True):
            if labelled < (least := min(there, FEWEST_LABELS)):
                raise InputError(
                    f"{labelled} of the {there} items ({what}) have a label; label {least} at least"
                )

    @property
    def n_items(self) -> int:
        """Items that were answered."""
        return len(self.flips)

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Items that flip, and the rest."""
        n_flips = int(self.flips.sum())
        return n_flips, len(self.flips) - n_flips

    @cached_property
    def labelled(self) -> tuple[int, int]:
        """How many of either have a label."""
        n_flips = int(self.flips[self.rows].sum())
        return n_flips, len(self.rows) - n_flips

    @cached_property
    def strata(self) -> tuple[Codes, ...]:
        """Places among the labels of those that flip, and of the rest; empty ones are left out."""
        flipped = self.flips[self.rows]
        return tuple(found for found in map(np.flatnonzero, (flipped, ~flipped)) if len(found))

    @cached_property
    def weights(self) -> Float64:
        """How many items each label stands for, ``(n,)``."""
        each = np.array(self.sizes) / np.maximum(self.labelled, 1)
        return np.asarray(np.where(self.flips[self.rows], each[0], each[1]))

    @cached_property
    def guesses(self) -> tuple[Float64, Float64]:
        """How likely answers of the candidate and of the reference are right, by confidences, ``(N,)``.

        Of answers that differ one at most is right. An answer that both give is as likely for both.
        """
        both = (self.candidate + self.reference) / 2
        own = (self.candidate, self.reference)
        found = [np.where(self.flips, confidences / 2, both) for confidences in own]
        return found[0], found[1]

    @property
    def correct(self) -> tuple[Bool, Bool]:
        """Whether the labelled answers of the candidate and of the reference are right, ``(n,)``."""
        return self.candidate_correct, self.reference_correct

    def total(self, known: Float64, labels: Float64) -> Float64:
        """Return the sums over all items of what is known ``(N, b)`` and of labels' parts ``(n, b)``."""
        return np.asarray(known.sum(axis=0) + self.weights @ labels)

    def errors(self, known: Float64, labels: Float64) -> Float64:
        """Return rows ``(2n, b)`` whose products, summed, are the covariances of :meth:`total`."""
        weights = self.weights
        mean = self.total(known, labels) / self.n_items
        of_items = np.sqrt(weights)[:, None] * (known[self.rows] + labels - mean)
        of_choice = np.zeros_like(labels)
        for places in self.strata:
            n, weight = len(places), weights[places[0]]
            if n > 1 and weight > 1:
                # N² (1/n - 1/N) / (n - 1), with N = n w
                scale = np.sqrt(weight * n * (weight - 1) / (n - 1))
                of_choice[places] = scale * (labels[places] - labels[places].mean(axis=0))
        return np.concatenate([of_items, of_choice])

    def quantile(self, share: float, labels: Float64) -> float:
        """Return Student's quantile: degrees of freedom are those of the smallest sample that matters."""
        few = [
            len(places)
            for places in self.strata
            if self.weights[places[0]] > 1 and np.ptp(labels[places], axis=0).any()
        ]
        return float(scipy.special.stdtrit(min(few) - 1, share)) if few else float(scipy.special.ndtri(share))

    @property
    def discordant(self) -> int:
        """Labelled items that one model answers right and the other wrong: what shows the variance."""
        return int((self.candidate_correct != self.reference_correct).sum())

    @property
    def unseen(self) -> float:
        """Items that one more flip among the labels would stand for."""
        return max(1.0, self.sizes[0] / max(self.labelled[0], 1))


def labelled_change(sample: LabelSample, metric: str | Metric, *, level: float = 0.95) -> Change:
    """Return how a metric differs between two models of which some answers are labelled.

    The interval is for items like these: that of labels for all, and what is added by labelling some.

    Parameters
    ----------
    sample
        The answers and the labels.
    metric
        ``accuracy``, ``overconfidence_gap`` (signed), or a binned error of the top answer: ``ece``,
        ``ece_shared_bins``, with their number of bins (``ece[n_bins=1]`` is the mean gap's size).
    level
        Of the interval.

    Raises
    ------
    InputError
        The metric cannot be had from such labels.
    """
    check_level(level)
    wanted = get(metric)
    if wanted.id == "accuracy":
        return _of_means(sample, wanted, 1.0, with_confidence=False, level=level)
    if wanted.id == "overconfidence_gap":
        return _of_means(sample, wanted, -1.0, with_confidence=True, level=level)
    return _of_sums(sample, wanted, level)


def _of_means(
    sample: LabelSample, metric: Metric, sign: float, *, with_confidence: bool, level: float
) -> Change:
    """Of ``sign * correctness``, plus confidence."""
    sides = []
    for confidences, guess, correct in zip(
        (sample.candidate, sample.reference), sample.guesses, sample.correct, strict=True
    ):
        known = sign * guess + (confidences if with_confidence else 0.0)
        sides.append((known[:, None], sign * (correct - guess[sample.rows])[:, None]))
    known, labels = (a - b for a, b in zip(*sides, strict=True))
    values = [float(sample.total(*side)[0]) / sample.n_items for side in sides]
    errors = sample.errors(known, labels)[:, 0]
    # One more flip that went the other way: none seen is no proof that there is none.
    variance = float(errors @ errors) + sample.unseen**2
    tail = (1 + level) / 2
    z = max(sample.quantile(tail, labels), float(scipy.special.stdtrit(sample.discordant + 2, tail)))
    # Rare parts of one sign show little spread where they are few by chance.
    third, bend = float((errors**3).sum()), max(float(scipy.special.ndtri(tail)) ** 2 - 1, 0.0) / 3
    down, up = (z * np.sqrt(variance) + bend * max(part, 0.0) / variance for part in (-third, third))
    value = values[0] - values[1]
    return Change(
        value,
        (float(value - down / sample.n_items), float(value + up / sample.n_items)),
        len(sample.rows),
        metric.id,
        level,
        candidate_value=values[0],
        reference_value=values[1],
        lower_is_better=metric.direction != "higher",
    )


def labelled_accuracy(sample: LabelSample, arm: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the accuracy of the candidate (``arm`` 0) or the reference (1)."""
    guess, correct = sample.guesses[arm], sample.correct[arm]
    labels = (correct - guess[sample.rows])[:, None]
    nothing = guess[:, None]
    value = min(max(float(sample.total(nothing, labels)[0]) / sample.n_items, 0.0), 1.0)
    errors = sample.errors(nothing, labels)[:, 0] / sample.n_items
    variance = float(errors @ errors)
    even = sample.n_items**2 / float((sample.weights**2).sum())
    shown = value * (1 - value) / variance if variance > 0 else even
    # Student's quantile in the place of the normal one, as fewer items.
    stretch = sample.quantile((1 + level) / 2, labels) / float(scipy.special.ndtri((1 + level) / 2))
    return rate_interval(value, level, min(shown, even * 4) / stretch**2)


def _of_sums(sample: LabelSample, metric: Metric, level: float) -> Change:
    """Of a binned error, with the gate's bounds."""
    found = [_binned(metric, confidences) for confidences in (sample.candidate, sample.reference)]
    if metric.shared_groups:
        found[1] = found[1].on(found[0])
    ours, theirs = (
        _LabelledSums.of_labels(sample, sums, guess, correct)
        for sums, guess, correct in zip(found, sample.guesses, sample.correct, strict=True)
    )
    values = [float(np.abs(side.totals).sum()) / sample.n_items for side in (ours, theirs)]
    bounds = unit_sum_bounds(theirs, ours, level=level)
    value = values[0] - values[1]
    return Change(
        value,
        holding(bounds, value),
        len(sample.rows),
        metric.id,
        level,
        candidate_value=values[0],
        reference_value=values[1],
    )


def _binned(metric: Metric, confidences: Float64) -> AbsoluteSums:
    """Return a metric's groups, and in them the confidences alone."""
    if metric.needs != "top-label" or metric.to_absolute_sums is None:
        raise InputError(
            f"{metric.id!r} cannot be had from labels of some items; ask for accuracy, overconfidence_gap,"
            " ece or ece_shared_bins"
        )
    unlabelled = Outcomes.from_top_label(confidences, np.zeros(len(confidences), dtype=bool))
    sums = metric.absolute_sums(unlabelled)
    if sums is None or sums.groups.shape[1] != 1:
        raise InputError(f"{metric.id!r} cannot be had from labels of some items; use ece or ece_shared_bins")
    return sums


@dataclass(frozen=True, eq=False)
class _ByRows(Design):
    """Units whose parts are errors already: rows of :meth:`LabelSample.errors`."""

    sample: LabelSample | None = None

    @property
    def unseen(self) -> float:
        return 1.0 if self.sample is None else self.sample.unseen

    def quantile(self, share: float) -> float:
        assert self.sample is not None  # noqa: S101 (made with one)
        few = [n for n, there in zip(self.sample.labelled, self.sample.sizes, strict=True) if 1 < n < there]
        return float(scipy.special.stdtrit(min(few) - 1, share)) if few else float(scipy.special.ndtri(share))

    def variance(self, unit_sums: Float64) -> float:
        return float(unit_sums @ unit_sums)


@dataclass(frozen=True, eq=False)
class _LabelledSums(UnitSums):
    """Sums of gaps by group, of which the labels are a sample."""

    sums: Float64 | None = None
    rows: Float64 | None = None

    @classmethod
    def of_labels(
        cls, sample: LabelSample, sums: AbsoluteSums, guess: Float64, correct: Bool
    ) -> _LabelledSums:
        n_groups = len(sums.coarse)
        groups = sums.groups[:, 0]
        known = np.zeros((sample.n_items, n_groups))
        known[np.arange(sample.n_items), groups] = sums.values[:, 0] - guess
        at = groups[sample.rows]
        labels = np.zeros((len(sample.rows), n_groups))
        labels[np.arange(len(at)), at] = guess[sample.rows] - correct
        each = (n / max(k, 1) for n, k in zip(sample.sizes, sample.labelled, strict=True))
        weights = np.where(sample.flips, *each)
        doubts = weights * sums.variances[:, 0]
        promised = np.bincount(groups, weights=doubts, minlength=n_groups).astype(np.float64)
        return cls(
            _ByRows(sample.n_items, sample=sample),
            sums.groups,
            sums.values,
            promised,
            np.bincount(at, minlength=n_groups),
            sums.coarse,
            sample.total(known, labels),
            sample.errors(known, labels),
        )

    @property
    def _rows(self) -> Float64:
        assert self.rows is not None  # noqa: S101 (made with them)
        return self.rows

    @cached_property
    def totals(self) -> Float64:
        assert self.sums is not None  # noqa: S101 (made with them)
        return self.sums

    def parts(self, weights: Float64) -> Float64:
        return np.asarray(self._rows @ weights)

    def covariances(self, other: UnitSums) -> Float64:
        assert isinstance(other, _LabelledSums)  # noqa: S101 (of the same sample)
        return np.asarray((self._rows * other._rows).sum(axis=0))

    def same_as(self, other: UnitSums) -> bool:
        return (
            super().same_as(other)
            and isinstance(other, _LabelledSums)
            and np.array_equal(self._rows, other._rows)
        )

    def coarsened(self) -> _LabelledSums:
        n_coarse = int(self.coarse.max()) + 1
        onto = np.zeros((len(self.coarse), n_coarse))
        onto[np.arange(len(self.coarse)), self.coarse] = 1.0
        return replace(
            self,
            groups=self.coarse[self.groups],
            promised=self.promised @ onto,
            counts=(self.counts @ onto).astype(np.intp),
            coarse=np.arange(n_coarse),
            sums=self.totals @ onto,
            rows=self._rows @ onto,
        )


def allocation(n_flips: int, n_rest: int, n_labels: int, *, rest_share: float) -> tuple[int, int]:
    """Return how many items that flip, and of the rest, to label.

    Labels of the rest cannot change a difference in accuracy, nor in the signed gap, so its variance is
    least if all labels go to flips; the rest gets ``rest_share`` of them, for errors of absolute value, and
    what the flips leave.

    Raises
    ------
    InputError
        They are too few to show a variance in both.
    """
    floors = [min(there, FEWEST_LABELS) for there in (n_flips, n_rest)]
    if n_labels < sum(floors):
        raise InputError(
            f"{n_labels} labels are too few: {n_flips} items flip and {n_rest} do not, and {FEWEST_LABELS} of"
            f" either must have one; ask for {sum(floors)} or more"
        )
    rest = min(n_rest, max(floors[1], round(rest_share * n_labels)))
    flips = min(n_flips, max(floors[0], n_labels - rest))
    return flips, min(n_rest, n_labels - flips)
