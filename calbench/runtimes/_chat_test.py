"""What a chat endpoint is asked before the first item."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calbench.errors import InputError, ServerError
from calbench.runtimes._chat import BIAS, INSTRUCTION, TOP, ChatServer
from calbench.runtimes._http import RefusedError
from calbench.runtimes._self_test import (
    SAME,
    SUM,
    TEXTS,
    Outcome,
    SelfTest,
    UnderWay,
)


@dataclass(eq=False)
class _Test(UnderWay):
    server: ChatServer


def chat_tested(server: ChatServer, facts: Mapping[str, Any]) -> tuple[ChatServer, SelfTest]:
    """Put a chat endpoint to the test; returns it with the way of asking that was found."""
    test = _Test(server)
    steps = (
        ("log-probabilities", _top),
        ("prompt tokens", _tokens),
        ("repeats", _repeats),
        ("at once", _at_once),
        ("raw log-probabilities", _raw),
        ("sum", _sum),
        ("context", _context),
        ("forcing", _forcing),
    )
    test.take(steps)
    if not test.refused:
        test.server = test.server.known(TEXTS[0])
    found = test.server
    how = {
        "served": found.served,
        "instruction": hashlib.sha256(INSTRUCTION.encode()).hexdigest()[:16],
        "top": found.top,
        "forcing": found.forcing,
        "tokenizer": _vocabulary(found.tokenizer),
    }
    return found, SelfTest(tuple(test.checks), {**facts, **how}, test.noise)


def _vocabulary(tokenizer: Any) -> str | None:
    if tokenizer is None:
        return None
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _top(test: _Test) -> None:
    for n in (TOP, 5):
        try:
            listed = test.server.likeliest(TEXTS[0], n)
        except RefusedError as error:
            if n == 5:
                raise
            test.note("top-k", "noted", f"{n} likely tokens are refused: {error}")
            continue
        test.server = replace(test.server, top=min(n, len(listed)))
        test.note("log-probabilities", "ok", f"the {len(listed)} likeliest first tokens are told")
        return


def _tokens(test: _Test) -> None:
    """A template adds tokens, and always as many; another tokenizer would add another number each time."""
    if test.server.tokenizer is None:
        test.note("prompt tokens", "noted", "no tokenizer is known, so they are not compared")
        return
    counts = [test.server.n_tokens(text) for text in TEXTS]
    own = [len(test.server.tokenizer(text)["input_ids"]) for text in TEXTS]
    added = {count - ours for count, ours in zip(counts, own, strict=True) if count is not None}
    if not added:
        test.note("prompt tokens", "noted", "the server does not count them")
    elif max(added) - min(added) > 1 or min(added) < 0:
        raise ServerError(
            f"its template adds {sorted(added)} tokens to three messages: the tokenizer here is another one"
        )
    else:
        test.note("prompt tokens", "ok", f"{max(added)} more than the message, by the template")


def _repeats(test: _Test) -> None:
    differences: list[float] = []
    for text in TEXTS:
        first = test.server.likeliest(text)
        differences += [_apart(first, test.server.likeliest(text)) for _ in range(2)]
    if not test.heard(differences):
        raise ServerError(f"the same message gives log-probabilities that differ by {test.noise:.3g} nat")
    outcome: Outcome = "ok" if test.noise == 0 else "noted"
    test.note("repeats", outcome, f"largest difference between repeats: {test.noise:.2g} nat")


def _at_once(test: _Test) -> None:
    test.ask_at_once(test.server.likeliest, TEXTS, _apart)


def _raw(test: _Test) -> None:
    hot = max(_apart(test.server.likeliest(t), test.server.likeliest(t, temperature=2.0)) for t in TEXTS)
    if hot > SAME:
        test.note("raw log-probabilities", "noted", "they change with a temperature; it is asked at 1")
    else:
        test.note("raw log-probabilities", "ok", "the same at two temperatures")


def _sum(test: _Test) -> None:
    total = max(math.fsum(math.exp(v) for _, v in test.server.likeliest(text)) for text in TEXTS)
    if total > 1 + SUM:
        raise ServerError(f"the probabilities of the likeliest tokens sum to {total:.4f}")
    test.note("sum", "ok", f"the likeliest tokens sum to {total:.4f} at most")


def _context(test: _Test) -> None:
    first, second = (test.server.likeliest(text) for text in TEXTS[::2])
    if _apart(first, second) == 0:
        raise ServerError("two different messages have the same log-probabilities: they are not read")
    test.note("context", "ok", "log-probabilities change with the message")


def _forcing(test: _Test) -> None:
    """Force tokens whose log-probabilities are known: these stay, or their differences do, or neither."""
    if test.server.tokenizer is None:
        test.note("forcing", "noted", "no tokenizer is known: what is outside of the likeliest is refused")
        return
    known = _single(test.server, test.server.likeliest(TEXTS[0]))
    if len(known) < 2:
        raise ServerError("the likeliest tokens are none to the tokenizer here; name the model's own")
    try:
        found = _way(test.server, dict(known))
    except ServerError as error:
        test.note("forcing", "noted", f"logit_bias is not honoured ({error})")
        return
    test.server = replace(test.server, forcing=found)
    told = {
        "one": "a forced token keeps its raw log-probability",
        "together": "biased tokens keep differences",
    }
    missing = "logit_bias changes nothing: what is outside of the likeliest is refused"
    test.note("forcing", "ok" if found in told else "noted", told.get(found, missing))


def _way(server: ChatServer, known: Mapping[str, float]) -> Any:
    text = TEXTS[0]
    apart: list[float] = []
    for word, value in known.items():
        written, forced = server.generated(text, logit_bias={str(server.id_of(word)): BIAS})
        if written != word:
            return "none"
        apart.append(abs(forced - value))
    if max(apart) <= SAME:
        return "one"
    listed = dict(server.likeliest(text, logit_bias={str(server.id_of(word)): BIAS for word in known}))
    if not set(known) <= set(listed):
        return "none"
    moved = [listed[word] - value for word, value in known.items()]
    return "together" if max(moved) - min(moved) <= SAME else "none"


def _single(server: ChatServer, listed: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return three likely tokens that are single ones to the tokenizer, not the likeliest if others are."""
    found = []
    for token, value in listed[1:]:
        try:
            server.id_of(token)
        except InputError:
            continue
        found.append((token, value))
    return found[:3]


def _apart(first: Sequence[tuple[str, float]], second: Sequence[tuple[str, float]]) -> float:
    """Return the largest difference over the tokens that both name; they need to share the likeliest."""
    ours, theirs = dict(first), dict(second)
    shared = ours.keys() & theirs.keys()
    if not shared or first[0][0] not in theirs:
        return math.inf
    return max(abs(ours[token] - theirs[token]) for token in shared)
