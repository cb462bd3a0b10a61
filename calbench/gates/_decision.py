"""What became of a requirement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Len
from typing_extensions import NotRequired, TypedDict

from calbench.gates._explanation import headline
from calbench.gates._requirement import Requirement
from calbench.statistics import Change, Outcome, outcome_of

Interval = Annotated[list[float], Len(2, 2)]
Pair = Annotated[list[str], Len(2, 2)]  # keys of the reference's record and of the candidate's


class Look(TypedDict):
    """A look that was taken, as plain JSON."""

    n: int
    level: float
    outcome: Outcome
    records: NotRequired[list[Pair]]


@dataclass(frozen=True)
class LookTaken:
    """A look that was taken.

    Attributes
    ----------
    planned
        Its number of items in the plan.
    n
        Test items.
    level
        Of its interval.
    outcome
        What it showed.
    records
        Keys of the reference's and the candidate's record of each later part of the items.
    """

    planned: int
    n: int
    level: float
    outcome: Outcome
    records: tuple[tuple[str, str], ...] = ()

    def to_plain(self) -> Look:
        """Return it as plain JSON."""
        further = [list(pair) for pair in self.records]
        return {"n": self.n, "level": self.level, "outcome": self.outcome, "records": further}


class GateFigures(TypedDict):
    """What was asked and what came of it, as plain JSON: all that a verdict rests on."""

    test: str
    metric: str
    candidate: str
    reference: str
    limit: str
    margin: float
    outcome: Outcome
    delta: float
    interval: Interval
    interval_level: float
    level: float
    relative: bool
    n: int
    folds: NotRequired[int | None]
    sampling: NotRequired[str]
    looks: list[Look]
    accepted: str | None
    p_value: float | None


class Gate(GateFigures):
    """A decision as plain JSON: what results, comments and JUnit hold of it."""

    why: str
    n_calibration: int
    stopped: str
    candidate_value: float | None
    reference_value: float | None
    items_needed: int | None
    explanation: str | None


@dataclass(frozen=True)
class Decision:
    """What became of a requirement, and from what that follows.

    Attributes
    ----------
    outcome
        ``"pass"``: shown to hold; ``"fail"``: shown not to; ``"inconclusive"``: the interval holds the
        limit.
    change
        What was measured.
    limit
        What was allowed.
    items_needed
        About how many items would decide it; None if it is decided, or if that is not known.
    why
        The outcome in a sentence.
    requirement
        What was asked.
    looks, look
        The looks that were taken, and which of them, from 0, the figures are of; none where the items were
        judged once.
    stopped
        Why no further look was taken, of what is undecided.
    level
        Of all looks together; None where the items were judged once, at the interval's level.
    n_calibration
        Items that the calibrator was fitted on; 0 without one.
    folds
        In which it was cross-fitted; 1 where there is one split.
    """

    outcome: Outcome
    change: Change
    limit: float
    items_needed: int | None
    why: str
    requirement: Requirement = field(repr=False)
    looks: tuple[LookTaken, ...] = ()
    look: int = 0
    stopped: str = ""
    level: float | None = None
    n_calibration: int = 0
    folds: int = 1

    @classmethod
    def of(
        cls, requirement: Requirement, change: Change, *, moved: Callable[[], float] = lambda: 0.0
    ) -> Decision:
        """Decide a requirement from what was measured.

        A calibration error that clears a margin below what asking again moves (``moved``) by less than that
        is no finding.
        """
        limit = requirement.limit
        outcome, needed = outcome_of(change, limit)
        note = ""
        if outcome != "inconclusive" and requirement.metric.to_absolute_sums is not None:
            scale = abs(change.reference_value or 0.0) if requirement.relative else 1.0
            clear = min(abs(bound - limit) for bound in change.interval)
            if max(abs(limit), clear) * scale < (least := moved()):
                outcome = "inconclusive"
                note = (
                    f": asking items again moves their confidence by {least:.2g} on average; a smaller margin"
                    " claims nothing, so name a larger one"
                )
        why = headline(requirement, outcome) + note
        return cls(outcome, change, limit, needed, why, requirement)

    def how_it_was_judged(self) -> list[str]:
        """Say in lines on how many items a calibrator was fitted, and how often the gate was looked at."""
        lines = [f"the calibrator was fitted on {self.n_calibration:,} items"] if self.n_calibration else []
        if self.folds > 1:
            lines.append(f"{self.folds} folds: each item is scored by a fit on the other folds")
        if len(self.looks) > 1:
            taken = ", ".join(f"{look.n:,} ({look.outcome})" for look in self.looks)
            lines.append(f"looked at {taken} items; together the looks err as one at {self.level:.0%} may")
        return [*lines, *([self.stopped] if self.stopped else [])]

    def to_plain(self, *, test: str = "") -> Gate:
        """Return the decision as plain JSON, with the test that asked for it."""
        wanted, measured = self.requirement, self.change
        return {
            "test": test,
            "metric": wanted.metric.id,
            "candidate": wanted.candidate,
            "reference": wanted.reference or "",
            "limit": wanted.keyword,
            "margin": self.limit,
            "outcome": self.outcome,
            "why": self.why,
            "delta": measured.value,
            "interval": list(measured.interval),
            "interval_level": measured.level,
            "level": self.level or measured.level,
            "relative": measured.relative,
            "n": measured.n,
            "sampling": measured.sampling,
            "n_calibration": self.n_calibration,
            "folds": self.folds,
            "looks": [look.to_plain() for look in self.looks],
            "stopped": self.stopped,
            "candidate_value": measured.candidate_value,
            "reference_value": measured.reference_value,
            "items_needed": self.items_needed,
            "accepted": None,
            "p_value": None,
            "explanation": None,
        }
