"""Named arms on the same items: what each is worth, what tells them apart, and what is required of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from calbench.errors import InputError, UnknownNameError
from calbench.gates._arms import Arms
from calbench.gates._court import Court, Raising
from calbench.gates._decision import Decision
from calbench.gates._explanation import figures, what_moved, where_it_lies
from calbench.gates._fitted_split import Arm
from calbench.gates._kept import is_of_kept, kept_change, kept_p_value
from calbench.gates._looks import Looks, judged, p_value
from calbench.gates._recovery import Recovery, recovered_fraction
from calbench.gates._requirement import Contrast, Limits, Requirement, requirements
from calbench.gates._table import as_html, as_text
from calbench.metrics import Metric, get
from calbench.registry import unknown
from calbench.statistics import (
    Change,
    Estimate,
    Resampled,
    change,
    contrast,
    contrast_exceedance,
    exceedance_p_value,
)

LEVEL, N_RESAMPLES, MARGIN = 0.95, 2000, 0.02
# What the shipped suites and `calbench check` judge calibration by; docs/statistics.md says why.
GATE_METRIC = "ece_shared_bins"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Comparison:
    """Named arms on the same items and resamples, on which it can be required what must hold.

    Attributes
    ----------
    arms
        Gives each arm by its name.
    reference, candidate
        The pair that is compared where nothing else is named.
    contrasts
        Weighted sums of arms that have names.
    level
        Of the intervals.
    n_calibration, n_test
        Items that calibrators were fitted on, and those that every arm is measured on.
    metrics
        Ids of what reports show: what the records hold is enough for each.
    calibrator, court
        What was fitted, if anything was; what becomes of requirements.
    looks
        Gives the same arms on more items, for what is undecided on these.
    notes
        Gives :attr:`warnings`.
    folds
        Of cross-fitting; 1 where there is one split.
    """

    arms: Arms = field(repr=False)
    reference: str = "reference"
    candidate: str = "candidate"
    contrasts: Mapping[str, Contrast] = field(default_factory=dict, repr=False)
    level: float = LEVEL
    n_calibration: int = 0
    n_test: int = 0
    metrics: tuple[str, ...] = ()
    calibrator: str = ""
    court: Court = field(default_factory=Raising, repr=False)
    looks: Looks | None = field(default=None, repr=False)
    notes: Callable[[Comparison], Iterator[str]] = field(default=lambda _: iter(()), repr=False)
    folds: int = 1

    def __repr__(self) -> str:
        """Both values of the main metrics and their change, in at most five lines."""
        return as_text(self)

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return as_html(self)

    @property
    def brier(self) -> str:
        """Id of the Brier score that the records allow: of every class, or of the top answer alone."""
        return "brier" if "brier" in self.metrics else "brier_toplabel"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the numbers must know."""
        return tuple(self.notes(self))

    def arm(self, name: str) -> Arm:
        """Return an arm's probabilities and metrics.

        Raises
        ------
        UnknownNameError
            There is none of that name.
        """
        return self.arms.arm(name)

    def estimate(self, metric: str | Metric, *, arm: str | None = None) -> Estimate:
        """Return one metric of an arm (the candidate) with its interval, which allows for the bias of ECE."""
        return self.arm(arm or self.candidate).resampled(metric).estimate(self.level, method="bounds")

    def difference(
        self,
        metric: str | Metric,
        *,
        arm: str | None = None,
        against: str | None = None,
        relative: bool = False,
        level: float | None = None,
    ) -> Change:
        """Return how a metric differs between two arms: ``arm`` (the candidate) minus ``against``.

        Parameters
        ----------
        metric
            Its id.
        arm, against
            Names of arms; by default the candidate and the reference.
        relative
            Return it as a share of ``against``.
        level
            Of the interval, if not the comparison's.
        """
        pair = self.arms.pair(against or self.reference, arm or self.candidate, get(metric))
        return change(
            *(side.resampled(metric) for side in pair), relative=relative, level=level or self.level
        )

    def contrast(self, name: str, metric: str | Metric) -> Change:
        """Return a named contrast of a metric, such as ``"regret"`` of a transfer."""
        wanted = Requirement(get(metric), "max_increase", 0.0, self._named(name))
        return self._measured(wanted, self.level)

    def decide(  # noqa: PLR0913 (a sentence names one limit)
        self,
        metric: str | Metric = "ece",
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        max_increase: float | None = None,
        max_decrease: float | None = None,
        max_relative_increase: float | None = None,
        max_relative_decrease: float | None = None,
        arm: str | None = None,
        against: str | None = None,
        contrast: str | None = None,
        level: float | None = None,
    ) -> Decision:
        """Say whether a requirement holds, does not, or cannot be told; see :meth:`require`."""
        limits = Limits(
            at_most, at_least, max_increase, max_decrease, max_relative_increase, max_relative_decrease
        )
        (wanted,) = self._requirements((metric,), limits, arm, against, contrast, level)
        return self._decided(wanted)

    def require(  # noqa: PLR0913 (a sentence names one limit)
        self,
        *metrics: str | Metric,
        at_most: float | None = None,
        at_least: float | None = None,
        max_increase: float | None = None,
        max_decrease: float | None = None,
        max_relative_increase: float | None = None,
        max_relative_decrease: float | None = None,
        arm: str | None = None,
        against: str | None = None,
        contrast: str | None = None,
        level: float | None = None,
        accepted: Mapping[str, str] = NOTHING,
    ) -> Comparison:
        """Raise, in a test fail, unless an arm keeps a limit, as far as the items can show.

        Parameters
        ----------
        metrics
            Ids such as ``"ece"``, which is also what is required if none is named.
        at_most, at_least
            The metric itself: a ceiling (or a floor, for ``accuracy``).
        max_increase, max_decrease
            How much worse than ``against``, in the metric's unit; negative asks for an improvement.
        max_relative_increase, max_relative_decrease
            The same as a share of what it is compared with, 0.05 for 5%.
        arm
            What is judged, if not the candidate.
        against
            What it is compared with, if not the reference: another arm. Of a transfer also the id of
            another calibrator, transferred likewise; in a test's grid also ``"baseline"`` (what was accepted
            last time, where the run names it) and ``"quantizer:ID"``, another quantizer's transferred arm.
        contrast
            In place of the two, a named contrast, which may be at most ``max_increase``.
        level
            Of the interval, for this requirement.
        accepted
            Failures that were looked at and accepted: a cell's id, or a glob of ids, and the reason. In a
            test such a cell is measured and shown as failed, but the test counts as an expected failure.

        Returns
        -------
        Comparison
            Itself, for a further requirement.

        Raises
        ------
        GateFailedError
            It is shown not to hold; the message says where to look. What cannot be decided with
            these items passes here: ask :meth:`decide` to tell the two apart.
        InputError
            The sentence makes no sense, or the records cannot give the metric.
        """
        limits = Limits(
            at_most, at_least, max_increase, max_decrease, max_relative_increase, max_relative_decrease
        )
        for wanted in self._requirements(metrics or ("ece",), limits, arm, against, contrast, level):
            if self.court.asks(wanted):
                self.court.settle(self, self._decided(wanted), accepted)
        return self

    def require_recovered(
        self,
        metric: str = "ece",
        *,
        reference: str,
        quantized: str,
        restored: str,
        min_fraction: float,
        accepted: Mapping[str, str] = NOTHING,
    ) -> Comparison:
        """Require that an arm gives back at least a share of what quantization cost.

        Where quantization is not shown to have cost anything the fraction is refused, and the gate is
        inconclusive.
        """
        found = self.recovered(metric, reference=reference, quantized=quantized, restored=restored)
        weights = {restored: 1.0, quantized: min_fraction - 1.0, reference: -min_fraction}
        what = Contrast(f"{restored} recovers of {quantized}", weights)
        wanted = Requirement(get(metric), "min_fraction", min_fraction, what)
        estimate = found.fraction or found.cost
        measured = Change(
            estimate.value,
            estimate.interval,
            self.n_test,
            found.metric,
            estimate.level,
            candidate_value=estimate.value,
            lower_is_better=False,
        )
        decision = (
            Decision("inconclusive", measured, min_fraction, None, found.refused, wanted)
            if found.fraction is None
            else Decision.of(wanted, measured)
        )
        self.court.settle(self, decision, accepted)
        return self

    def recovered(self, metric: str, *, reference: str, quantized: str, restored: str) -> Recovery:
        """Return how much of quantization's cost an arm gives back; a flawed arm has nothing to give."""
        names = (reference, quantized, restored)
        found = recovered_fraction(*(self.arm(n).resampled(metric) for n in names), level=self.level)
        flaws = [flaw for name in (reference, restored) if (flaw := self.arms.flaw(name))]
        known = found.fraction is not None and flaws
        return Recovery(metric, found.cost, found.gain, None, flaws[0]) if known else found

    def explain(self, decision: Decision, *, whom: str = "", further: tuple[str, ...] = ()) -> str:
        """Say what happened, by how much, with what certainty, and what to look at.

        Parameters
        ----------
        decision
            What is explained.
        whom
            A line on what was measured.
        further
            Lines to follow the figures.
        """
        wanted = decision.requirement
        needed = decision.items_needed
        lines = [
            decision.why,
            *filter(None, [whom]),
            figures(wanted, decision.change),
            *further,
            *self._at(decision)._where(wanted),
            *decision.how_it_was_judged(),
            *([f"about {needed:,} test items would decide it"] if needed else []),
        ]
        return "\n  ".join(lines)

    def p_value(self, decision: Decision) -> float:
        """Return the smallest p at which a failed requirement still fails, to correct it for their number.

        What fails for a flaw of its arm fails at any.
        """
        if self.looks is not None and decision.looks:
            return p_value(self, decision, self.looks)
        return self.p_value_once(decision)

    def p_value_once(self, decision: Decision) -> float:
        """Return the p-value of a requirement on these items alone; see :meth:`p_value`."""
        wanted = decision.requirement
        if self._flaw(wanted):
            return 0.0
        if wanted.of.id:
            limit = wanted.limit if wanted.kind == "change" else 0.0
            return contrast_exceedance(self._terms(wanted), limit=limit)
        if is_of_kept(wanted):
            return kept_p_value(self.arm(wanted.candidate), wanted.metric, wanted.limit)
        reference, candidate = self._pair(wanted)
        return exceedance_p_value(reference, candidate, limit=wanted.limit, relative=wanted.relative)

    def _requirements(
        self,
        metrics: tuple[str | Metric, ...],
        limits: Limits,
        arm: str | None,
        against: str | None,
        contrast: str | None,
        level: float | None,
    ) -> list[Requirement]:
        if contrast is not None and (arm or against):
            raise InputError(f"contrast={contrast!r} names its arms; leave arm and against out")
        return requirements(
            metrics,
            limits,
            arm=arm or self.candidate,
            against=against or self.reference,
            contrast=None if contrast is None else self._named(contrast),
            level=level,
        )

    def _named(self, contrast: str) -> Contrast:
        if contrast not in self.contrasts:
            raise UnknownNameError(unknown("contrast", contrast, self.contrasts))
        return self.contrasts[contrast]

    def _decided(self, wanted: Requirement) -> Decision:
        level = wanted.level or self.level
        if self.looks is not None and self.looks.admits(wanted):
            found = judged(self, wanted, level, self.looks)
        else:
            found = self.decided_once(wanted, level)
        n_calibration = found.change.n if self.folds > 1 else self.n_calibration
        return replace(found, n_calibration=n_calibration, folds=self.folds)

    def _at(self, decision: Decision) -> Comparison:
        """Return the comparison on the items that a decision is of."""
        return self.looks.at(decision.look, self) if self.looks is not None and decision.looks else self

    def decided_once(self, wanted: Requirement, level: float) -> Decision:
        """Judge a requirement on these items alone, at a level."""
        measured = self.arms.recall(wanted, level, lambda: self._measured(wanted, level))
        if flaw := self._flaw(wanted):
            return Decision("fail", measured, wanted.limit, None, flaw, wanted)
        return Decision.of(wanted, measured, moved=self.arms.moved_by_asking)

    def _flaw(self, wanted: Requirement) -> str:
        judged = list(wanted.of.weights) if wanted.of.id else [wanted.candidate]
        return next((flaw for name in judged if (flaw := self.arms.flaw(name))), "")

    def _measured(self, wanted: Requirement, level: float) -> Change:
        if wanted.of.id:
            terms = self._terms(wanted)
            found = contrast(terms, level)
            better = terms[0][1].metric.direction != "higher"
            return Change(
                found.value, found.interval, found.n, wanted.metric.id, level, lower_is_better=better
            )
        if is_of_kept(wanted):
            return kept_change(self.arm(wanted.candidate), wanted.metric, level)
        reference, candidate = self._pair(wanted)
        return change(reference, candidate, relative=wanted.relative, level=level)

    def _terms(self, wanted: Requirement) -> list[tuple[float, Resampled]]:
        return [(w, self.arm(name).resampled(wanted.metric)) for name, w in wanted.of.weights.items()]

    def _pair(self, wanted: Requirement) -> tuple[Resampled | None, Resampled]:
        if wanted.reference is None:
            return None, self.arm(wanted.candidate).resampled(wanted.metric)
        first, second = self.arms.pair(wanted.reference, wanted.candidate, wanted.metric)
        return first.resampled(wanted.metric), second.resampled(wanted.metric)

    def _where(self, wanted: Requirement) -> list[str]:
        """Return lines on where to look: of one arm, or of two."""
        if wanted.kind == "limit":
            alone = self.arm(wanted.candidate)
            return where_it_lies(alone.resamples.item_ids, alone.outcomes)
        if wanted.reference is None:
            return []
        reference, candidate = self.arms.pair(wanted.reference, wanted.candidate, wanted.metric)
        return what_moved(candidate.resamples.item_ids, reference.outcomes, candidate.outcomes)
