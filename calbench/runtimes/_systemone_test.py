"""What a decision server is asked before the first item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from calbench.errors import ServerError
from calbench.runtimes._http import UnreachableError
from calbench.runtimes._self_test import (
    SAME,
    Outcome,
    SelfTest,
    UnderWay,
)
from calbench.runtimes._systemone import SystemOneServer, probs_of

_STATE = "Customer: my card was charged twice for one order, and I want one payment back by Friday."
_OTHER = "Customer: since the last update the app closes when I open a photo."
_QUESTIONS: dict[str, dict[str, Any]] = {
    "noul": {"type": "noul", "instructions": "Does the customer ask for money?"},
    "choice": {
        "type": "choice",
        "instructions": "Which team should answer?",
        "criteria": {"Billing": "Payments and refunds", "technique": "Errors of the app", "Größeres": None},
    },
    "score": {
        "type": "score",
        "instructions": "How urgent is it?",
        "criteria": ["It can wait", "This week", "Today"],
    },
}


@dataclass(eq=False)
class _Test(UnderWay):
    server: SystemOneServer

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in _QUESTIONS if kind not in self.server.failing]

    def probs(self, kind: str, state: str = _STATE) -> dict[str, float]:
        return probs_of(self.server.ask(state, _QUESTIONS[kind])[0])


def systemone_tested(server: SystemOneServer, facts: Mapping[str, Any]) -> tuple[SystemOneServer, SelfTest]:
    """Put a decision server to the test; returns it with its own name, and what it cannot answer."""
    test = _Test(server)
    steps = (
        ("typed questions", _kinds),
        ("repeats", _repeats),
        ("at once", _at_once),
        ("state", _state),
        ("order of options", _order),
        ("confidence", _confidence),
    )
    test.take(steps)
    return test.server, SelfTest(tuple(test.checks), {**facts, "served": test.server.served}, test.noise)


def _kinds(test: _Test) -> None:
    failing: dict[str, str] = {}
    names: set[str | None] = set()
    for kind, question in _QUESTIONS.items():
        try:
            names.add(test.server.ask(_STATE, question)[1])
        except ServerError as error:  # noqa: PERF203 (three questions)
            if isinstance(error, UnreachableError):
                raise
            failing[kind] = str(error)
            test.note(f"question of type {kind}", "noted", f"tasks of this type are refused: {error}")
    if len(failing) == len(_QUESTIONS):
        raise ServerError(failing["choice"])
    if len(names) > 1:
        raise ServerError(f"three questions are answered by different models: {sorted(map(str, names))}")
    test.server = replace(test.server, served=names.pop(), failing=failing)
    test.note("typed questions", "ok", f"answered: {', '.join(test.kinds)}; it is {test.server.served!r}")


def _repeats(test: _Test) -> None:
    for kind in test.kinds:
        first = test.probs(kind)
        for _ in range(2):
            test.noise = max(test.noise, _apart(first, test.probs(kind)))
    if test.noise > SAME:
        raise ServerError(f"the same question gets probabilities that differ by {test.noise:.3g}")
    outcome: Outcome = "ok" if test.noise == 0 else "noted"
    test.note("repeats", outcome, f"largest difference between repeats: {test.noise:.2g}")


def _at_once(test: _Test) -> None:
    asked = [(kind, state) for kind in test.kinds for state in (_STATE, _OTHER)]
    test.ask_at_once(lambda one: test.probs(*one), asked, _apart, limit=SAME)


def _state(test: _Test) -> None:
    if all(_apart(test.probs(kind), test.probs(kind, _OTHER)) == 0 for kind in test.kinds):
        raise ServerError("two different states get the same probabilities: the state is not read")
    test.note("state", "ok", "probabilities change with the state")


def _order(test: _Test) -> None:
    if "choice" not in test.kinds:
        return
    question = _QUESTIONS["choice"]
    turned = {**question, "criteria": dict(reversed(question["criteria"].items()))}
    moved = _apart(test.probs("choice"), probs_of(test.server.ask(_STATE, turned)[0]))
    if moved <= max(test.noise, 1e-6):
        test.note("order of options", "ok", "reversing them moves no probability of the question asked here")
    else:
        what = f"reversing them moves a probability by {moved:.2g}; compare a task with order=shuffled"
        test.note("order of options", "noted", what)


def _confidence(test: _Test) -> None:
    """Not read; told, since a threshold on it means something else on another server."""
    if "choice" not in test.kinds:
        return
    answer, _ = test.server.ask(_STATE, _QUESTIONS["choice"])
    probs = sorted(probs_of(answer).values(), reverse=True)
    uniform = 1 / len(probs)
    known = {
        "the top probability above chance": (probs[0] - uniform) / (1 - uniform),
        "the top probability": probs[0],
        "the top probability's lead": probs[0] - probs[1],
    }
    told = answer.get("confidence")
    if not isinstance(told, int | float):
        test.note("confidence", "noted", f"it is {told!r}; probabilities alone are read")
        return
    like = [what for what, value in known.items() if abs(value - told) < 0.01]
    what = f"it is {like[0]}" if like else "it is computed in a way of its own"
    test.note("confidence", "noted", f"{what}; only probabilities are read, which other servers give too")


def _apart(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    return max(abs(value - second[key]) for key, value in first.items())
