"""The openai protocol of vLLM and SGLang: a prompt of token ids comes back with its log-probabilities.

``prompt_logprobs`` names each token by its id; ``echo`` with ``logprobs`` gives the tokens in a row. Which
of them a server honours the self-test finds out: some leave ``echo`` out without a word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from calbench.errors import ServerError
from calbench.runtimes._http import Client

Way = Literal["prompt_logprobs", "echo"]
# A server's own defaults may penalise or cut; neutral values are said aloud.
NEUTRAL: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": 0,
}


@dataclass(frozen=True, eq=False)
class OpenAIServer:
    """Asks ``/v1/completions``; see :class:`calbench.runtimes.TokenServer`.

    Parameters
    ----------
    client
        Of the server.
    model
        As the server names it.
    way
        How log-probabilities of a prompt are asked for.
    own_bos
        The token that the server puts before token ids of ours; None if it adds nothing. It is left out
        of what is sent.
    served
        As the server calls what answers; another name in the middle of a run is refused.
    """

    client: Client
    model: str
    way: Way = "prompt_logprobs"
    own_bos: int | None = None
    served: str | None = None
    name: str = "openai"

    def log_probs(self, context: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """Return the log-probability of each token of a continuation."""
        return self.prompt_log_probs([*context, *continuation])[len(context) :]

    def prompt_log_probs(self, tokens: Sequence[int], **sampling: Any) -> list[float]:
        """Return the log-probability of each token of a prompt; that of the first one is NaN."""
        asked = {"prompt_logprobs": 1} if self.way == "prompt_logprobs" else {"echo": True, "logprobs": 1}
        answer = self._complete(tokens, {"max_tokens": 1, **asked, **sampling})
        check_count(_counted(answer), len(tokens))
        choice = _choice(answer)
        read = _by_id if self.way == "prompt_logprobs" else _in_a_row
        return read(choice, tokens)

    def likeliest(self, context: Sequence[int], n: int, **sampling: Any) -> list[tuple[str, float]]:
        """Return the likeliest next tokens as the server writes them."""
        choice = _choice(self._complete(context, {"max_tokens": 1, "logprobs": n, **sampling}))
        listed = (choice.get("logprobs") or {}).get("top_logprobs") or []
        if not listed or not isinstance(listed[-1], dict):
            raise ServerError("the server sent no top_logprobs of the token that it generated")
        return sorted(((t, finite(v, t)) for t, v in listed[-1].items()), key=lambda one: -one[1])

    def generated(self, context: Sequence[int]) -> tuple[str, float]:
        """Return the likeliest next token's text, generated greedily, and its log-probability at 1."""
        choice = _choice(self._complete(context, {"max_tokens": 1, "logprobs": 1, "top_k": 1}))
        values = (choice.get("logprobs") or {}).get("token_logprobs") or []
        return str(choice.get("text", "")), finite(values[-1] if values else None, "generated")

    def n_tokens(self, prompt: str | Sequence[int]) -> int:
        """Return how many prompt tokens the server counts."""
        counted = _counted(self._complete(prompt, {"max_tokens": 1}))
        if counted is None:
            raise ServerError("the server sends no usage.prompt_tokens, so that nothing tells a doubled BOS")
        return counted

    def known(self, prompt: str) -> OpenAIServer:
        """Return the same, which knows by what name the server calls what answers."""
        return replace(self, served=name_in(self._complete(prompt, {"max_tokens": 1})))

    def _complete(self, prompt: str | Sequence[int], options: Mapping[str, Any]) -> Any:
        sent: str | list[int] = prompt if isinstance(prompt, str) else list(prompt)
        if self.own_bos is not None and sent[:1] == [self.own_bos]:
            sent = sent[1:]
        body = {"model": self.model, "prompt": sent, **NEUTRAL, **options}
        answer = self.client.post("./completions", body)
        check_model(answer, self.served)
        return answer


def _counted(answer: Any) -> int | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return counted if isinstance(counted, int) else None


def _choice(answer: Any) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ServerError("the server's answer holds no choices")
    if len(choices) > 1:
        raise ServerError(f"one prompt was sent, and the answer holds {len(choices)} choices")
    return choices[0]


def _by_id(choice: Mapping[str, Any], tokens: Sequence[int]) -> list[float]:
    listed = choice.get("prompt_logprobs")
    if not isinstance(listed, list) or len(listed) != len(tokens):
        found = len(listed) if isinstance(listed, list) else "none"
        raise ServerError(f"prompt_logprobs has {found} entries for {len(tokens)} tokens")
    values = [math.nan]
    for place in range(1, len(tokens)):
        entry = (listed[place] or {}).get(str(tokens[place]))
        if not isinstance(entry, dict):
            raise ServerError(f"prompt_logprobs lacks the token {tokens[place]} at place {place}")
        values.append(finite(entry.get("logprob"), tokens[place]))
    return values


def _in_a_row(choice: Mapping[str, Any], tokens: Sequence[int]) -> list[float]:
    values = (choice.get("logprobs") or {}).get("token_logprobs")
    if not isinstance(values, list) or len(values) not in (len(tokens), len(tokens) + 1):
        found = len(values) if isinstance(values, list) else "no"
        raise ServerError(
            f"echo came back with {found} log-probabilities for {len(tokens)} tokens and one more"
        )
    known = [finite(v, t) for v, t in zip(values[1 : len(tokens)], tokens[1:], strict=True)]
    return [math.nan, *known]


def check_count(counted: Any, n_sent: int) -> None:
    """Raise :class:`ServerError` if a server read another number of prompt tokens than was sent.

    It cut the prompt, or this is the answer to somebody else.
    """
    if counted is not None and counted != n_sent:
        raise ServerError(f"{n_sent} prompt tokens were sent, and the answer is to {counted!r}")


def check_model(answer: Any, served: str | None) -> None:
    """Raise :class:`ServerError` if another model answers than in the self-test."""
    name = name_in(answer)
    if None not in (served, name) and name != served:
        raise ServerError(
            f"the server called itself {served!r} in the self-test and {name!r} now: another model answers;"
            " run again"
        )


def name_in(answer: Any) -> str | None:
    """Return by what name an answer's model calls itself."""
    name = answer.get("model") if isinstance(answer, dict) else None
    return name if isinstance(name, str) else None


def finite(value: Any, token: Any) -> float:
    """Return a log-probability; raises :class:`ServerError` for what is none."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value > 1e-3
    ):
        raise ServerError(f"the log-probability of token {token!r} is {value!r}, which is none")
    return float(value)
