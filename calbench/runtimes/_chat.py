"""Chat endpoints: the first token of an answer, with the likeliest ones that the server tells (20, mostly).

What is outside of these is never floored: it is forced by ``logit_bias``, in the way that the self-test
found the server to honour it, or the item is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from calbench.errors import InputError, ServerError, UnanswerableError
from calbench.inference import Request
from calbench.models import ModelSource
from calbench.runtimes._http import Client
from calbench.runtimes._openai import NEUTRAL, check_model, finite, name_in
from calbench.runtimes._protocol import Prepared
from calbench.tasks import ChoiceRequest, ClassificationRequest, LabelledItem, Question

# "one": a forced token keeps its raw log-probability (vLLM, llama-server). "together": tokens that share a
# bias keep their differences, which is all that classes need (processed ones, as of hosted APIs).
Forcing = Literal["none", "one", "together"]
BIAS = 100
TOP = 20
# Hosted APIs write -9999 for what they do not tell.
_NOT_TOLD = -500.0
INSTRUCTION = "Answer with one of these and nothing else: {words}"


@dataclass(frozen=True, eq=False)
class ChatServer:
    """Asks ``/chat/completions``.

    Parameters
    ----------
    client
        Its address has no ``/chat/completions`` at the end.
    model
        As the server names it.
    tokenizer
        Gives the ids by which tokens are forced; None forces nothing.
    top
        How many likely tokens the server tells.
    forcing
        What ``logit_bias`` does.
    served
        As the server calls what answers; another name in the middle of a run is refused.
    """

    client: Client
    model: str
    tokenizer: Any = None
    top: int = TOP
    forcing: Forcing = "none"
    served: str | None = None
    name: str = "chat"

    def likeliest(self, content: str, n: int | None = None, **sampling: Any) -> list[tuple[str, float]]:
        """Return the likeliest first tokens of the answer to a message, with log-probabilities."""
        first = self._first(content, n or self.top, **sampling)
        listed = first.get("top_logprobs")
        if not isinstance(listed, list) or not listed:
            raise ServerError("the server sent no top_logprobs of the first token of its answer")
        found = [(_written(one), finite(one.get("logprob"), _written(one))) for one in listed]
        return [(token, value) for token, value in found if value > _NOT_TOLD]

    def generated(self, content: str, **sampling: Any) -> tuple[str, float]:
        """Return the first token of an answer, and its log-probability."""
        first = self._first(content, 1, **sampling)
        return _written(first), finite(first.get("logprob"), _written(first))

    def n_tokens(self, content: str) -> int | None:
        """Return how many prompt tokens the server counts, its template's included; None if it does not."""
        usage = self._ask(content, {"max_tokens": 1}).get("usage")
        counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return counted if isinstance(counted, int) else None

    def known(self, content: str) -> ChatServer:
        """Return the same, which knows by what name the server calls what answers."""
        return replace(self, served=name_in(self._ask(content, {"max_tokens": 1})))

    def log_probs(self, content: str, words: Sequence[str]) -> list[float]:
        """Return the log-probability that an answer begins with each word, all of them up to one number.

        Raises
        ------
        ServerError
            A word is not among the likeliest tokens, and the server cannot be made to tell it.
        """
        told = _by_word(self.likeliest(content), words)
        missing = [word for word in words if word not in told]
        if missing and self.forcing == "together":
            bias = {str(self.id_of(word)): BIAS for word in words}
            told = _by_word(self.likeliest(content, logit_bias=bias), words)
            missing = [word for word in words if word not in told]
        elif missing and self.forcing == "one":
            told |= {word: self.forced(content, word) for word in missing}
            missing = []
        if missing:
            raise ServerError(
                f"{missing[0]!r} is not among the {self.top} likeliest first tokens of an answer, and this"
                " server does not tell the others; ask it by /v1/completions, or name a tokenizer whose"
                " token ids its logit_bias honours"
            )
        return [told[word] for word in words]

    def forced(self, content: str, word: str) -> float:
        """Return the log-probability of a word that the answer is made to begin with."""
        written, value = self.generated(content, logit_bias={str(self.id_of(word)): BIAS})
        if written != word:
            raise ServerError(f"an answer that was made to begin with {word!r} begins with {written!r}")
        return value

    def id_of(self, word: str) -> int:
        """Return a word's token id; raises :class:`InputError` if it is not one token."""
        tokens = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(tokens) != 1:
            raise InputError(f"{word!r} is {len(tokens)} tokens; a chat is asked for words of one token")
        return int(tokens[0])

    def prepared(self, request: Request, items: Sequence[LabelledItem]) -> Prepared:
        """Return the items ready to be asked.

        Raises
        ------
        UnanswerableError
            The task wants the log-probability of whole texts.
        """
        rows = [
            (_content(request, item, words), words) for item in items for words in (_words(request, item),)
        ]
        if self.tokenizer is not None:
            for word in dict.fromkeys(word for _, words in rows for word in words):
                self.id_of(word)
        most = max(len(words) for _, words in rows)
        if self.forcing == "together" and most > self.top:
            raise InputError(f"an item has {most} options, and the server tells {self.top} tokens at once")
        return Prepared(
            rows, [self._size(text) for text, _ in rows], [1] * len(rows), most, _asker(self), 0, "chat"
        )

    def _size(self, content: str) -> int:
        return 0 if self.tokenizer is None else len(self.tokenizer(content)["input_ids"])

    def _first(self, content: str, n: int, **sampling: Any) -> dict[str, Any]:
        options = {"max_tokens": 1, "logprobs": True, "top_logprobs": n, **sampling}
        choices = self._ask(content, options).get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        told = choice.get("logprobs") if isinstance(choice, dict) else None
        tokens = told.get("content") if isinstance(told, dict) else None
        if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], dict):
            raise ServerError(
                "the server sends no log-probabilities of the tokens of its answer; models that think first"
                " do not, and some APIs never do"
            )
        return tokens[0]

    def _ask(self, content: str, options: Mapping[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": content}]
        body = {"model": self.model, "messages": messages, **NEUTRAL, **options}
        answer = self.client.post("./chat/completions", body)
        check_model(answer, self.served)
        return answer if isinstance(answer, dict) else {}


def count_messages(
    tokenizer: Any, source: ModelSource, request: Request, items: Sequence[LabelledItem]
) -> tuple[int, int]:
    """Return how many requests and prompt tokens, without the template's, different items take in a chat."""
    del source  # as count_requests takes it
    contents = {_content(request, item, _words(request, item)) for item in items}
    return len(contents), sum(len(tokenizer(content)["input_ids"]) for content in contents)


def _asker(server: ChatServer) -> Callable[[tuple[str, tuple[str, ...]]], list[float]]:
    def ask(row: tuple[str, tuple[str, ...]]) -> list[float]:
        return server.log_probs(*row)

    return ask


def _words(request: Request, item: LabelledItem) -> tuple[str, ...]:
    """Return the words of which one is the answer; an answer begins without a space."""
    if isinstance(request, ClassificationRequest) and request.scoring == "label-words":
        return tuple(word.strip() for word in request.label_words)
    if isinstance(request, ChoiceRequest) and request.rule == "letter" and isinstance(item, Question):
        return tuple(letter.strip() for letter in request.continuations(item))
    raise UnanswerableError(
        "a chat endpoint tells the first token of its answer alone: ask it for letters (rule=letter) or for"
        " label words, or ask the server by /v1/completions"
    )


def _content(request: Request, item: LabelledItem, words: Sequence[str]) -> str:
    return f"{request.text(item)}\n\n{INSTRUCTION.format(words=', '.join(words))}"


def _by_word(listed: Sequence[tuple[str, float]], words: Sequence[str]) -> dict[str, float]:
    """Return what is told of each word: of the token that is written so, with no space, and of no other."""
    found: dict[str, float] = {}
    for token, value in listed:
        if token in words:
            if token in found and not math.isclose(found[token], value):
                raise ServerError(f"two tokens that are both written {token!r} have different probabilities")
            found[token] = value
    return found


def _written(entry: Mapping[str, Any]) -> str:
    """Return a token as it is written; its bytes are surer than its text."""
    given = entry.get("bytes")
    if isinstance(given, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in given):
        return bytes(given).decode("utf-8", errors="backslashreplace")
    return str(entry.get("token"))
