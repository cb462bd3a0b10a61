"""Decision servers: ``POST /v1/systemone`` takes a state and typed questions, and gives probabilities.

One question a request, by the same id, so that neither ids nor neighbours nor places can change an answer.
Probabilities alone are read: ``confidence`` is computed in five different ways by different servers. An
answer that contradicts itself is refused, since nothing tells which part of it is right.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbench.errors import ServerError, UnanswerableError
from calbench.inference import Request
from calbench.runtimes._http import Client
from calbench.runtimes._protocol import Prepared
from calbench.tasks import DecisionRequest, LabelledItem

SUM = 1e-3
# Servers round; a decision that is further than this from the most probable option is another one.
ROUNDED = 0.005
_ID = "question"
# A probability of 0 would leave no option; records of probabilities keep the same number for it.
_LEAST = sys.float_info.min


@dataclass(frozen=True, eq=False)
class SystemOneServer:
    """Asks a decision server.

    Parameters
    ----------
    client
        Its address has no ``/systemone`` at the end.
    model
        As it is asked for.
    served
        As the server calls what answers; another name in the middle of a run is refused.
    failing
        Why questions of a kind are not asked, by kind.
    """

    client: Client
    model: str
    served: str | None = None
    failing: Mapping[str, str] = field(default_factory=dict)
    name: str = "systemone"

    def ask(self, state: str, question: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Return the answer to one question, checked, and what the server calls itself.

        Raises
        ------
        ServerError
            The server cannot be reached, answers something else, or contradicts itself.
        """
        body = {"model": self.model, "state": state, "questions": {_ID: dict(question)}}
        reply = self.client.post("./systemone", body)
        answers = reply.get("answers") if isinstance(reply, dict) else None
        if not isinstance(answers, dict) or not isinstance(answers.get(_ID), dict):
            raise ServerError(f"{self.client.address}: the reply holds no answer to the question")
        name = reply.get("model")
        if self.served is not None and name != self.served:
            raise ServerError(
                f"{self.client.address} was {self.served!r} in the self-test and is {name!r} now: another"
                " model answers; run again"
            )
        answer: dict[str, Any] = answers[_ID]
        check_answer(answer, question)
        return answer, name if isinstance(name, str) else None

    def log_probs(self, state: str, question: Mapping[str, Any], keys: Sequence[str]) -> list[float]:
        """Return the log-probability of each class."""
        answer, _ = self.ask(state, question)
        return [math.log(max(probs_of(answer)[key], _LEAST)) for key in keys]

    def prepared(self, request: Request, items: Sequence[LabelledItem]) -> Prepared:
        """Return the items ready to be asked; raises :class:`UnanswerableError` for what is no decision."""
        if not isinstance(request, DecisionRequest):
            raise UnanswerableError(
                f"{self.client.address} is a decision server, which answers typed questions alone; declare a"
                ' task with kind = "decision"'
            )
        if request.kind in self.failing:
            raise ServerError(f"questions of type {request.kind}: {self.failing[request.kind]}")
        return Prepared(
            [(item.text, json.dumps(request.question(item), ensure_ascii=False)) for item in items],
            [0] * len(items),
            [1] * len(items),
            len(request.described),
            _asker(self, request.keys),
            0,
            "systemone, one question a request",
        )


def _asker(server: SystemOneServer, keys: Sequence[str]) -> Callable[[tuple[str, str]], list[float]]:
    def ask(asked: tuple[str, str]) -> list[float]:
        state, question = asked
        return server.log_probs(state, json.loads(question), keys)

    return ask


def probs_of(answer: Mapping[str, Any]) -> dict[str, float]:
    """Return an answer's probability of each class by its key."""
    if answer["type"] == "noul":
        return {"no": 1.0 - answer["noul"], "yes": float(answer["noul"])}
    return {key: float(value) for key, value in answer["probabilities"].items()}


def check_answer(answer: Mapping[str, Any], question: Mapping[str, Any]) -> None:
    """Raise :class:`ServerError` unless an answer is one distribution over what was asked about."""
    kind = question["type"]
    if answer.get("type") != kind:
        raise ServerError(f"a question of type {kind!r} is answered with type {answer.get('type')!r}")
    if kind == "noul":
        _probability(answer.get("noul"), "yes")
        return
    wanted = list(map(str, range(len(question["criteria"])))) if kind == "score" else [*question["criteria"]]
    listed = answer.get("probabilities")
    if not isinstance(listed, dict) or sorted(listed) != sorted(wanted):
        given = sorted(listed) if isinstance(listed, dict) else listed
        raise ServerError(f"probabilities are given of {given!r}, and were asked of {sorted(wanted)!r}")
    probs = {key: _probability(value, key) for key, value in listed.items()}
    total = math.fsum(probs.values())
    if abs(total - 1) > SUM:
        raise ServerError(f"the probabilities sum to {total:.4f}, and 1 is further away than {SUM:g}")
    if kind == "choice":
        _check_choice(answer, probs)
    elif (legend := answer.get("legend")) is not None and legend != _legend(question):
        raise ServerError(f"the legend is {legend!r}, where the levels {question['criteria']!r} were asked")


def _check_choice(answer: Mapping[str, Any], probs: Mapping[str, float]) -> None:
    chosen = answer.get("choice")
    if chosen is not None and probs.get(str(chosen), -1.0) < max(probs.values()) - ROUNDED:
        best = max(probs, key=lambda key: probs[key])
        raise ServerError(f"the server chooses {chosen!r}, and gives {best!r} the highest probability")


def _legend(question: Mapping[str, Any]) -> dict[str, Any]:
    return {str(place): level for place, level in enumerate(question["criteria"])}


def _probability(value: Any, key: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise ServerError(f"the probability of {key!r} is {value!r}, which is none")
    return float(value)
