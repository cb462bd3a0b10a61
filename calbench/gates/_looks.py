"""A requirement that is judged on more and more items until it is decided, at levels kept for each look.

A verdict stands once it is given. With Holm's correction a failure may need more items to stay one among
all gates of a run: then asking goes on, and what counts is the look that shows most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from calbench.errors import ModelLoadingForbiddenError
from calbench.gates._decision import Decision, LookTaken
from calbench.gates._requirement import Requirement
from calbench.statistics import Look, power, sequential_p_value

if TYPE_CHECKING:
    from calbench.gates._comparison import Comparison

# How the reason begins where a task has no further items.
OUT_OF_ITEMS = "out of items"
REPLAY = "and a replay asks for none"
# More than so many times the items that there are: no larger file helps, the value lies too near the limit.
IN_REACH = 10
# What all later looks would decide in fewer cases is asked no further. Stopping undecided spends none of
# the error, so it may be chosen as one likes; docs/statistics.md says what it costs and saves.
PROMISING = 0.1


class Looks(Protocol):
    """Gives a comparison of the same arms on more and more items."""

    @property
    def planned(self) -> tuple[Look, ...]:
        """The looks that may be taken, in order."""
        ...

    def admits(self, requirement: Requirement) -> bool:
        """Whether a requirement can be judged on more items."""
        ...

    def at(self, number: int, first: Comparison) -> Comparison:
        """Return the comparison at a look, counted from 0; ``first`` is the one of the first items.

        Raises
        ------
        ModelLoadingForbiddenError
            The look's answers are not in the store, and no model may be loaded.
        """
        ...

    def records(self, number: int) -> tuple[tuple[str, str], ...]:
        """Return the keys of both models' records of the items that a look adds to the first."""
        ...

    def goes_on(self, p_value: Callable[[], float], level: float) -> bool:
        """Whether a failure is to be shown on more items."""
        ...

    def why_give_up(self, number: int, power: float) -> str:
        """Say why no more is asked of what is undecided at a look; nothing to ask on.

        Parameters
        ----------
        number
            The look, from 0.
        power
            How likely the later looks are to decide it.
        """
        ...

    def why_no_more(self) -> str:
        """Say why there is no further look."""
        ...


def judged(comparison: Comparison, wanted: Requirement, level: float, looks: Looks) -> Decision:
    """Judge a requirement in looks, until it is decided or there are no more items."""
    taken: list[LookTaken] = []
    found: Decision | None = None
    stopped = ""
    for number, look in enumerate(looks.planned):
        try:
            decision = looks.at(number, comparison).decided_once(wanted, look.level(level))
        except ModelLoadingForbiddenError:
            if found is None:
                raise
            stopped = f"the answers to {look.n:,} items are not in the store, {REPLAY}"
            break
        records = looks.records(number)
        taken.append(LookTaken(look.n, decision.change.n, look.level(level), decision.outcome, records))
        if found is None or found.outcome == "inconclusive":
            found = replace(decision, look=number)
        found = replace(found, looks=tuple(taken), level=level)
        if found.outcome == "pass":
            break
        if found.outcome == "fail" and not looks.goes_on(partial(p_value, comparison, found, looks), level):
            break
        if found.outcome == "inconclusive" and (stopped := _given_up(decision, number, level, looks)):
            break
    else:
        stopped = looks.why_no_more()
    assert found is not None  # noqa: S101 (at least one look is planned)
    return replace(found, stopped=stopped if found.outcome == "inconclusive" else "")


def _given_up(decision: Decision, number: int, level: float, looks: Looks) -> str:
    """Say why what is undecided at a look is asked no further, if later looks would hardly decide it."""
    n, (here, *later) = decision.change.n, looks.planned[number:]
    if not later:
        return ""
    further = [(n + look.n - here.n, look.level(level)) for look in later]
    return looks.why_give_up(number, power(decision.change, decision.limit, further))


def p_value(comparison: Comparison, decision: Decision, looks: Looks) -> float:
    """Return the p-value of a requirement that was judged in looks."""
    values = {
        taken.planned: looks.at(number, comparison).p_value_once(decision)
        for number, taken in enumerate(decision.looks)
    }
    return sequential_p_value(values, looks.planned)
