"""Two models on the same items, from arrays or records: what changed, and what is required of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calbench.errors import CalbenchError, GateFailedError, InputError
from calbench.gates._explanation import Pair, figures, headline, what_moved
from calbench.gates._requirement import Limits, Requirement, requirements
from calbench.metrics import Metric, Outcomes
from calbench.records import AnyRecord, Predictions, TopLabelPredictions
from calbench.statistics import (
    Change,
    GateDecision,
    Resampled,
    Resamples,
    change,
    check_same_items,
    resample,
    resamples_for,
)

LEVEL, N_RESAMPLES = 0.95, 2000


@dataclass(frozen=True, eq=False)
class Comparison:
    """A candidate's answers beside a reference's, item by item.

    Attributes
    ----------
    reference, candidate
        Records of the same items.
    level, n_resamples, seed
        Of the intervals.
    """

    reference: AnyRecord
    candidate: AnyRecord
    level: float = LEVEL
    n_resamples: int = N_RESAMPLES
    seed: int = 0

    def require(
        self,
        *metrics: str,
        at_most: float | None = None,
        at_least: float | None = None,
        max_increase: float | None = None,
        max_decrease: float | None = None,
        max_relative_increase: float | None = None,
        max_relative_decrease: float | None = None,
        level: float | None = None,
        against: None = None,
    ) -> Comparison:
        """Raise unless the candidate keeps a limit, as far as the items can show.

        Parameters
        ----------
        metrics
            Ids such as ``"ece"``, which is also what is required if none is named.
        at_most, at_least
            The candidate's own value: a ceiling (or a floor, for ``accuracy``).
        max_increase, max_decrease
            How much worse than the reference, in the metric's unit.
        max_relative_increase, max_relative_decrease
            How much worse as a share of the reference's value.
        level
            Of the interval, for this requirement.
        against
            Not for comparisons, which have their reference: it is refused with the reason.

        Returns
        -------
        Comparison
            Itself, for a further requirement.

        Raises
        ------
        GateFailedError
            It is shown not to hold; the message says where to look. What cannot be decided with
            these items passes: ask :meth:`decide` to tell the two apart.
        InputError
            The sentence makes no sense, or the records cannot give the metric.
        """
        check_against(against)
        limits = Limits(
            at_most, at_least, max_increase, max_decrease, max_relative_increase, max_relative_decrease
        )
        for wanted in requirements(metrics or ("ece",), limits, level=level):
            decision = self.decide(wanted)
            if decision.outcome == "fail":
                raise GateFailedError(self.explain(wanted, decision))
        return self

    def decide(self, requirement: Requirement) -> GateDecision:
        """Return whether the requirement holds, does not, or cannot be told."""
        return requirement.judge(self.change(requirement))

    def change(self, requirement: Requirement) -> Change:
        """Return what the requirement is judged by."""
        candidate, reference = self.resampled(requirement)
        return change(
            candidate, reference, relative=requirement.relative, level=requirement.level or self.level
        )

    def resampled(self, requirement: Requirement) -> tuple[Resampled, Resampled | None]:
        """Return the metric of the candidate and, unless the metric itself is limited, the reference."""
        candidate = self._measure(requirement.metric, self.pair.candidate)
        if requirement.is_limit:
            return candidate, None
        return candidate, self._measure(requirement.metric, self.pair.reference)

    def explain(self, requirement: Requirement, decision: GateDecision) -> str:
        """Say what happened, by how much, with what certainty, and what to look at."""
        reference = None if requirement.is_limit else "reference"
        lines = [headline(decision, requirement.keyword), figures(decision, "candidate", reference)]
        lines += what_moved(self.pair)
        return "\n  ".join(lines)

    @cached_property
    def pair(self) -> Pair:
        """The answers, rows sorted by item id."""
        return Pair(
            np.sort(self.reference.item_ids),
            Outcomes.from_record(self.candidate),
            Outcomes.from_record(self.reference),
        )

    @cached_property
    def resamples(self) -> Resamples:
        """Resamples that both models share."""
        return resamples_for(self.reference.item_ids, n_resamples=self.n_resamples, seed=self.seed)

    def _measure(self, metric: Metric, items: Outcomes) -> Resampled:
        return resample([metric], items, self.resamples)[metric.id]


def compare(
    reference: npt.ArrayLike | AnyRecord,
    candidate: npt.ArrayLike | AnyRecord,
    labels: npt.ArrayLike | None = None,
    *,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Put a candidate's answers beside a reference's.

    Parameters
    ----------
    reference, candidate
        Logits (or log-probabilities) ``(n, k)`` of the same items in the same order, with
        ``labels``; or two records, whose rows are matched by item id.
    labels : (n,) int
        The right classes, from 0, for logits only.
    level, n_resamples, seed
        Of the intervals.

    Raises
    ------
    InputError
        The arrays or records do not belong together.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> fp32 = 2 * rng.normal(size=(2000, 2))
    >>> labels = (rng.random(2000) < 1 / (1 + np.exp(fp32[:, 0] - fp32[:, 1]))).astype(int)
    >>> both = compare(fp32, fp32 + 0.01 * rng.normal(size=fp32.shape), labels)
    >>> both.require("ece", "brier", max_increase=0.02).require("accuracy", at_least=0.6) is both
    True
    >>> compare(fp32, 3 * fp32, labels).require("ece", max_increase=0.02)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    calbench.errors.GateFailedError: ece got worse by more than the margin +0.02
    ...
    """
    records = [isinstance(value, Predictions | TopLabelPredictions) for value in (reference, candidate)]
    if any(records) and not all(records):
        raise InputError(
            "one side is a record and the other is not; pass two records, or two arrays of logits"
        )
    if all(records):
        if labels is not None:
            raise InputError("records bring their own labels; leave labels out")
        first, second = reference, candidate
    else:
        if labels is None:
            raise InputError("labels are missing: pass compare(reference_logits, candidate_logits, labels)")
        first, second = _record(reference, labels, "reference"), _record(candidate, labels, "candidate")
    check_same_items(second, first)  # type: ignore[arg-type]
    return Comparison(first, second, level, n_resamples, seed)  # type: ignore[arg-type]


def check_against(against: object) -> None:
    """Refuse ``against``, which requirements on ``calbench.transfer()`` have."""
    if against is not None:
        raise InputError(
            f"against={against!r}: calbench.compare compares with its first argument; leave against out"
            " (baselines and other arms are for calbench.transfer(), in a grid)"
        )


def _record(logits: npt.ArrayLike | AnyRecord, labels: npt.ArrayLike, side: str) -> Predictions:
    values = np.asarray(logits)
    try:
        return Predictions(range(len(np.atleast_1d(values))), values, labels)
    except CalbenchError as error:
        raise InputError(f"{side}: {error}") from None
