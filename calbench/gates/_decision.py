"""What became of a requirement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from calbench.gates._explanation import headline
from calbench.gates._requirement import Requirement
from calbench.statistics import Change, Outcome, outcome_of


class Gate(TypedDict):
    """A decision as plain JSON: what results, comments and JUnit hold of it."""

    test: str
    metric: str
    candidate: str
    reference: str
    limit: str
    margin: float
    outcome: str
    why: str
    delta: float
    interval: list[float]
    level: float
    relative: bool
    n: int
    candidate_value: float | None
    reference_value: float | None
    items_needed: int | None
    accepted: str | None
    p_value: float | None
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
    """

    outcome: Outcome
    change: Change
    limit: float
    items_needed: int | None
    why: str
    requirement: Requirement = field(repr=False)

    @classmethod
    def of(cls, requirement: Requirement, change: Change) -> Decision:
        """Decide a requirement from what was measured."""
        outcome, needed = outcome_of(change, requirement.limit)
        return cls(outcome, change, requirement.limit, needed, headline(requirement, outcome), requirement)

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
            "level": measured.level,
            "relative": measured.relative,
            "n": measured.n,
            "candidate_value": measured.candidate_value,
            "reference_value": measured.reference_value,
            "items_needed": self.items_needed,
            "accepted": None,
            "p_value": None,
            "explanation": None,
        }
