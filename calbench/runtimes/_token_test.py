"""What a server is asked before the first item: are its log-probabilities what they seem?

Nothing here knows the right numbers: a fault is found where two ways of asking for one number disagree.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, get_args

from calbench.errors import ServerError
from calbench.runtimes._http import UnreachableError
from calbench.runtimes._llama_server import LlamaServer
from calbench.runtimes._openai import OpenAIServer, Way
from calbench.runtimes._self_test import (
    CROWD,
    CROWD_TOKENS,
    IN_A_CROWD,
    N_IN_A_CROWD,
    SUM,
    TEXTS,
    Outcome,
    SelfTest,
    UnderWay,
)

# Where tokenizers of one model part: spaces before digits, digits in a row, contractions, other scripts.
ODD_TEXTS = ("a  12 b", "in 2024:   100,000.5", "I'll they've", "x\n\n  y\t1", "naïve Größe 東京 🙂")


@dataclass(eq=False)
class _Test(UnderWay):
    server: OpenAIServer | LlamaServer
    tokenizer: Any

    def prompts(self) -> list[list[int]]:
        rows: list[list[int]] = self.tokenizer(list(TEXTS))["input_ids"]
        return [list(row) for row in rows]


def tested(
    server: OpenAIServer | LlamaServer, tokenizer: Any, facts: Mapping[str, Any]
) -> tuple[OpenAIServer | LlamaServer, SelfTest]:
    """Put a server that is told tokens to the test; returns it with the way of asking that was found.

    Parameters
    ----------
    server
        Whose way of asking is settled.
    tokenizer
        With which items will be tokenised.
    facts
        Who answers.
    """
    test = _Test(server, tokenizer)
    steps: list[tuple[str, Callable[[_Test], None]]] = [
        ("prompt tokens", _count),
        ("tokenizer", _tokenizer),
        ("echo", _echo),
        ("repeats", _repeats),
        ("at once", _at_once),
        ("raw log-probabilities", _raw),
        ("sum", _sum),
        ("floor", _floor),
        ("context", _context),
        ("place", _place),
    ]
    test.take(steps)
    if isinstance(test.server, OpenAIServer) and not test.refused:
        test.server = test.server.known(TEXTS[0])
        facts = {**facts, "served": test.server.served}
    vocabulary = hashlib.sha256(json.dumps([test.prompts(), _special(tokenizer)]).encode()).hexdigest()
    how = {"tokenizer": vocabulary, "way": _way(test.server)}
    return test.server, SelfTest(tuple(test.checks), {**facts, **how}, test.noise)


def _way(server: OpenAIServer | LlamaServer) -> str:
    if isinstance(server, LlamaServer):
        return "grammar" if server.by_grammar else "logit_bias"
    return server.way if server.own_bos is None else f"{server.way}, without BOS"


def _special(tokenizer: Any) -> list[Any]:
    return [getattr(tokenizer, "bos_token_id", None), getattr(tokenizer, "eos_token_id", None)]


def _count(test: _Test) -> None:
    """A server that adds a BOS of its own to ours, or has another tokenizer, counts otherwise."""
    for text, tokens in zip(TEXTS, test.prompts(), strict=True):
        of_ids, of_text = test.server.n_tokens(tokens), test.server.n_tokens(text)
        if of_ids == len(tokens) + 1:
            _settle_bos(test, tokens)
        elif of_ids != len(tokens):
            test.note("prompt tokens", "refused", f"{len(tokens)} token ids are counted as {of_ids}")
            return
        if abs(of_text - len(tokens)) > 1:
            test.note(
                "prompt tokens",
                "refused",
                f"the text {text[:24]!r}... is {of_text} tokens to the server and {len(tokens)} to the"
                " tokenizer here: name the tokenizer that belongs to the model",
            )
            return
    own = isinstance(test.server, OpenAIServer) and test.server.own_bos is not None
    how = "the server adds a BOS of its own, so ours is left out" if own else "as many as were sent"
    test.note("prompt tokens", "noted" if own else "ok", how)


def _settle_bos(test: _Test, tokens: Sequence[int]) -> None:
    bos = getattr(test.tokenizer, "bos_token_id", None)
    if bos is None or tokens[0] != bos or not isinstance(test.server, OpenAIServer):
        raise ServerError(
            "the server adds a token to prompts of token ids, where the model's tokenizer adds none; switch"
            " that off (add_special_tokens, add_bos_token)"
        )
    test.server = replace(test.server, own_bos=bos)


def _tokenizer(test: _Test) -> None:
    """A server that tokenises shows where its own tokens are others than those that it will be told."""
    if not isinstance(test.server, LlamaServer):
        return
    own = {text: test.server.tokenize(text, special=True) for text in ODD_TEXTS}
    apart = [text for text in ODD_TEXTS if list(test.tokenizer(text)["input_ids"]) != own[text]]
    if apart:
        what = f"{', '.join(map(repr, apart))}: the server's own tokens are others than those it is told"
        test.note("tokenizer", "noted", what)
    else:
        test.note("tokenizer", "ok", "the server's own tokens of odd texts are those that it is told")


def _echo(test: _Test) -> None:
    if isinstance(test.server, LlamaServer):
        _force(test)
        return
    problems = []
    for way in get_args(Way):
        server = replace(test.server, way=way)
        try:
            server.prompt_log_probs(test.prompts()[0])
        except UnreachableError:
            raise
        except ServerError as error:
            problems.append(f"{way}: {error}")
            continue
        test.server = server
        test.note("echo", "ok", f"log-probabilities of a prompt by {way}")
        return
    raise ServerError(
        f"the server gives no log-probabilities of a prompt ({'; '.join(problems)}); vLLM and SGLang do, and"
        " llama-server is asked in a way of its own"
    )


def _force(test: _Test) -> None:
    assert isinstance(test.server, LlamaServer)  # noqa: S101 (the caller looked)
    tokens = test.prompts()[0]
    # The last two turned round, which nothing would say by itself.
    context, option = tokens[:-2], tokens[:-3:-1]
    forced = replace(test.server, by_grammar=False)
    wanted = forced.log_probs(context, option)
    try:
        walked = test.server.walked(context, option)
    except ServerError as error:
        test.server = forced
        test.note("forcing", "noted", f"one request a token, for grammars of token ids fail: {error}")
        return
    if _difference(walked, wanted) > IN_A_CROWD:
        raise ServerError(f"a token's log-probability is {wanted} when forced and {walked} by a grammar")
    test.note("forcing", "ok", "a grammar of token ids walks a whole continuation")


def _log_probs(test: _Test, tokens: Sequence[int], **sampling: Any) -> list[float]:
    if isinstance(test.server, OpenAIServer):
        return test.server.prompt_log_probs(tokens, **sampling)[1:]
    return test.server.log_probs(tokens[:-2], tokens[-2:])


def _repeats(test: _Test) -> None:
    differences: list[float] = []
    for tokens in test.prompts():
        first = _log_probs(test, tokens)
        again = [_log_probs(test, tokens) for _ in range(2)]
        differences += [abs(a - b) for other in again for a, b in zip(first, other, strict=True)]
    if not test.heard(differences):
        raise ServerError(
            f"the same prompt gives log-probabilities that differ by {test.noise:.3g} nat; switch off what"
            " makes them differ (prefix caching, speculative decoding, several replicas of different builds)"
        )
    outcome: Outcome = "ok" if test.noise == 0 else "noted"
    test.note("repeats", outcome, f"largest difference between repeats, cached too: {test.noise:.2g} nat")


def _at_once(test: _Test) -> None:
    """Ask unlike texts alone, then among each other and split elsewhere: what a resumed run does."""
    rows = [list(row)[:CROWD_TOKENS] for row in test.tokenizer(list(CROWD))["input_ids"]]
    asked = [(row, *_starts(test.server, len(row))) for row in rows]
    alone = [_told(test.server, row, start) for row, start, _ in asked]
    others = [(place, start) for place, (_, _, starts) in enumerate(asked) for start in starts]
    with ThreadPoolExecutor(N_IN_A_CROWD) as pool:
        crowd = list(pool.map(lambda other: _told(test.server, rows[other[0]], other[1]), others))
    differences = [
        abs(value - alone[place][at])
        for (place, _), told in zip(others, crowd, strict=True)
        for at, value in told.items()
        if at in alone[place]
    ]
    if not test.heard(differences):
        raise ServerError(
            f"asked for several answers at once, the server gives others than one by one"
            f" ({max(differences):.3g} nat apart): it mixes them up, or several models answer"
        )
    what = f"{len(differences)} numbers, alone and otherwise: {max(differences):.2g} nat apart at most"
    test.note("at once", "ok" if max(differences) == 0 else "noted", what)


def _starts(server: OpenAIServer | LlamaServer, n: int) -> tuple[int, tuple[int, ...]]:
    """Return where a text's continuation begins when it is asked alone, and in a crowd."""
    if isinstance(server, OpenAIServer):
        return 1, (1, 1)
    if not server.by_grammar:  # one request a token
        return n - 2, (n - 2, n - 2)
    return n // 2, (max(1, n // 4), 3 * n // 4)


def _told(server: OpenAIServer | LlamaServer, row: Sequence[int], start: int) -> dict[int, float]:
    """Return the log-probabilities of a text's tokens from one on, by their places."""
    return dict(enumerate(server.log_probs(row[:start], row[start:]), start))


def _raw(test: _Test) -> None:
    """Raw log-probabilities know no temperature, and no penalty."""
    flag = "--logprobs-mode raw_logprobs (vLLM) or --return-original-logprob (SGLang)"
    for tokens in test.prompts():
        settings: dict[str, dict[str, Any]] = {"a temperature": {"temperature": 2.0}}
        if isinstance(test.server, OpenAIServer):
            penalties = {"frequency_penalty": 1.5, "presence_penalty": 1.5}
            settings["a penalty"] = {**penalties, "repetition_penalty": 1.5}
            plain = test.server.prompt_log_probs(tokens)[1:]
            for what, sampling in settings.items():
                if _difference(plain, test.server.prompt_log_probs(tokens, **sampling)[1:]) > test.same:
                    raise ServerError(
                        f"log-probabilities of a prompt change with {what}; start it with {flag}"
                    )
        for what, sampling in settings.items():
            changed = _values(test.server.likeliest(tokens, 5, **sampling))
            if _difference(_values(test.server.likeliest(tokens, 5)), changed) > test.same:
                test.note(
                    "generated log-probabilities",
                    "noted",
                    f"they change with {what}; only those of prompts are read, which do not ({flag})",
                )
                if isinstance(test.server, LlamaServer):
                    raise ServerError(f"log-probabilities change with {what}; send post_sampling_probs false")
                test.note(
                    "raw log-probabilities", "ok", "of prompts: they know no temperature and no penalty"
                )
                return
    test.note("raw log-probabilities", "ok", "the same at two temperatures and with penalties")


def _sum(test: _Test) -> None:
    tokens, size = test.prompts()[0], len(test.tokenizer)
    limit, total = 0, 0.0
    for n in (1, 5, 20, 100, size):
        try:
            listed = test.server.likeliest(tokens, n)
        except ServerError:
            break
        limit, total = len(listed), math.fsum(math.exp(value) for _, value in listed)
        if total > 1 + SUM or (limit >= size and total < 1 - SUM):
            raise ServerError(
                f"the probabilities of the {limit} likeliest tokens sum to {total:.4f}: they are no"
                " probabilities of the whole vocabulary"
            )
        if limit < n or limit >= size:
            break
    if limit >= size:
        test.note("sum", "ok", f"all {limit} tokens sum to {total:.4f}")
    else:
        test.note("sum", "noted", f"at most the {limit} likeliest tokens are told (vLLM: --max-logprobs)")


def _floor(test: _Test) -> None:
    """Different tokens that have no business here have different log-probabilities, none of them round."""
    context = test.prompts()[0]
    size = len(test.tokenizer)
    odd = sorted({size // 3 + 7, size // 2 + 5, 2 * size // 3 + 3, size - 9} - set(context))
    odd = [token for token in odd if 0 < token < size]
    values = [test.server.log_probs(context, [token])[0] for token in odd]
    if len(set(values)) < len(values) or min(values) < -500:
        raise ServerError(
            f"{len(values)} unlikely tokens have the log-probabilities {[round(v, 3) for v in values]}: what"
            " is outside of the likeliest ones is floored, not told"
        )
    test.note("floor", "ok", "unlikely tokens have log-probabilities of their own")


def _context(test: _Test) -> None:
    """What is said of a token depends on all that comes before it."""
    first, *_, last = test.prompts()
    token = last[-1]
    values = {test.server.log_probs(context, [token])[0] for context in (first, last, last[:-2])}
    if len(values) < 3:
        raise ServerError(
            f"after three contexts one token has the log-probabilities {sorted(values)}: the server does not"
            " read the context, or cuts it"
        )
    test.note("context", "ok", "log-probabilities change with what comes before")


def _place(test: _Test) -> None:
    """The log-probability of a token in a prompt is that with which the same token is generated."""
    differences = []
    for tokens in test.prompts():
        for written, told in test.server.likeliest(tokens, 3):
            token = _token_of(test, written)
            if token is not None:
                differences.append(abs(test.server.log_probs(tokens, [token])[0] - told))
    if not differences:
        raise ServerError(
            "none of the tokens that the server generates is one to the tokenizer here, so that nothing shows"
            " which log-probability belongs to which token; name the tokenizer that belongs to the model"
        )
    worst = max(differences)
    if worst > test.same:
        raise ServerError(
            f"the same token has log-probabilities that differ by {worst:.3g} nat in a prompt and when it is"
            " generated: they are off by one place, or processed"
        )
    test.note("place", "ok", f"in a prompt and generated: {worst:.2g} nat apart at most")


def _token_of(test: _Test, written: str) -> int | None:
    if isinstance(test.server, LlamaServer):
        return int(written)
    if written.startswith("token_id:"):
        return int(written.removeprefix("token_id:"))
    known = test.tokenizer(written, add_special_tokens=False)["input_ids"]
    return int(known[0]) if len(known) == 1 else None


def _values(listed: Sequence[tuple[str, float]]) -> list[float]:
    return [value for _, value in listed]


def _difference(a: Sequence[float], b: Sequence[float]) -> float:
    if len(a) != len(b):
        return math.inf
    return max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0)
