"""A real llama-server behind a proxy that plants a fault: each is found, and named."""

from __future__ import annotations

import json
import math
from collections import Counter
from contextlib import ExitStack

import pytest

pytest.importorskip("torch", reason="models need torch")
pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

from calbench.errors import InputError, ServerError
from calbench.models import Address
from calbench.runtimes import Patience, connected

pytestmark = pytest.mark.embedded
QUICK = Patience(seconds=60.0, n_tries=2, first_pause=0.001)


def without(name):
    return lambda path, body: {key: value for key, value in body.items() if key != name}


def of_prompt(change):
    """Change the prompt of token ids."""

    def changed(path, body):
        ids = isinstance(body.get("prompt"), list)
        return {**body, "prompt": change(body["prompt"])} if ids else body

    return changed


def of_steps(change):
    """Change what is told of generated tokens."""

    def changed(path, value):
        for step in (value.get("completion_probabilities") or []) if isinstance(value, dict) else []:
            change(step)
        return value

    return changed


def processed(path, value):
    """Sampled probabilities, written as if they were raw."""
    for step in value.get("completion_probabilities") or [] if isinstance(value, dict) else []:
        step["logprob"] = math.log(max(step.pop("prob"), 1e-9))
        step["top_logprobs"] = [
            {**one, "logprob": math.log(max(one["prob"], 1e-9))} for one in step.pop("top_probs")
        ]
    return value


def only_walked(step):
    step["logprob"] *= 0.5


def of_the_request_before():
    """Give an answer to the request before, where several are under way."""
    last = []

    def change(value, crowded):
        steps = value.get("completion_probabilities") if isinstance(value, dict) else None
        if steps:
            told, last[:] = last[:], [step["logprob"] for step in steps]
            if crowded:
                for step, other in zip(steps, told, strict=False):
                    step["logprob"] = other - 3
        return value

    return change


def another_tokenizer(path, value):
    return {"tokens": [token + 1 for token in value["tokens"]]} if path == "/tokenize" else value


@pytest.fixture
def learn(llama):
    with ExitStack() as running:
        from tests.runtimes.completions_server import Proxy, listening

        def learn(tokenizer=None, **changes):
            place = Address.parse(running.enter_context(listening(Proxy(llama.client, **changes))))
            with connected(place, tokenizer=tokenizer, patience=QUICK) as found:
                return found

        yield learn


def refusal(found):
    return found.test.refusal or "nothing was found"


def test_the_proxy_itself_changes_nothing(learn):
    found = learn()
    assert found.test.refusal is None
    assert found.server.by_grammar


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (without("logit_bias"), "does not honour logit_bias"),
        (of_prompt(lambda tokens: tokens[-4:]), "token ids are counted as 4"),
        (of_prompt(lambda tokens: [1, *tokens]), "adds a token to prompts of token ids"),
        (without("prompt"), "prompt"),
    ],
)
def test_what_happens_to_a_request_is_found(learn, request_, reason):
    assert reason in refusal(learn(request=request_))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda step: step.update(logprob=None), "is None"),
        (lambda step: step.update(logprob=0.7), "is 0.7, which is none"),
        (lambda step: step.pop("logprob"), "is None"),
        (lambda step: step.update(id=step["id"] + 1), "was made to generate"),
        (lambda step: step.update(logprob=10**400), "another shape than is documented"),
    ],
)
def test_what_happens_to_a_log_probability_is_found(learn, change, reason):
    assert reason in refusal(learn(answer=of_steps(change)))


def test_sampled_probabilities_are_found(learn):
    found = learn(
        request=lambda path, body: {**body, "post_sampling_probs": True} if "n_probs" in body else body,
        answer=processed,
    )
    assert found.test.refusal is not None


def test_log_probabilities_that_a_temperature_changes_are_found(learn):
    hot = [False]

    def request(path, body):
        hot[0] = body.get("temperature") == 2.0
        return body

    def answer(path, value):
        for step in value.get("completion_probabilities", []) if isinstance(value, dict) and hot[0] else []:
            for one in step["top_logprobs"]:
                one["logprob"] /= 2
        return value

    assert "change with a temperature" in refusal(learn(request=request, answer=answer))


def test_a_grammar_that_changes_log_probabilities_is_found(learn):
    walking = [False]

    def request(path, body):
        walking[0] = "grammar" in body
        return body

    halved = of_steps(only_walked)
    found = learn(request=request, answer=lambda path, v: halved(path, v) if walking[0] else v)
    assert "when forced and" in refusal(found)


def test_without_grammars_of_tokens_they_are_forced_one_by_one(learn):
    found = learn(request=without("grammar"))
    assert found.test.refusal is None
    assert not found.server.by_grammar, found.test.checks


def test_answers_that_are_mixed_up_in_a_crowd_are_found(learn):
    from tests.runtimes.crowds import Crowd

    mixed = Crowd(of_the_request_before())
    assert "it mixes them up" in refusal(learn(answer=mixed.answer))


def test_a_server_that_is_too_old_is_found(learn):
    def old(path, value):
        if isinstance(value, dict):
            value.pop("completion_probabilities", None)
        return value

    assert "older than January 2025" in refusal(learn(answer=old))


def test_a_cut_prompt_is_found(learn):
    def cut(path, value):
        return {**value, "truncated": True} if isinstance(value, dict) and "truncated" in value else value

    assert "larger --ctx-size" in refusal(learn(answer=cut))


def test_a_server_of_unknown_vocabulary_needs_a_tokenizer(learn):
    def silent(path, value):
        return {"data": [{"id": "m"}]} if path == "/v1/models" else value

    with pytest.raises(InputError, match="does not tell the size of its vocabulary"):
        learn(answer=silent)


def test_where_the_servers_own_tokens_are_others_is_noted(learn, smollm2):
    found = learn(smollm2.load_tokenizer(), answer=another_tokenizer)
    (check,) = (check for check in found.test.checks if check.name == "tokenizer")
    assert check.outcome == "noted"
    assert "others than those it is told" in check.what


def test_a_cached_prefix_that_gives_other_numbers_is_found(learn):
    """What was asked before is answered otherwise: the fault of a prefix cache."""
    seen = Counter()

    def request(path, body):
        seen.update([json.dumps(body.get("prompt"))])
        seen["again"] = seen[json.dumps(body.get("prompt"))] > 1
        return body

    moved = of_steps(lambda step: step.update(logprob=step["logprob"] - 0.2))
    found = learn(request=request, answer=lambda path, v: moved(path, v) if seen["again"] else v)
    assert found.test.refusal is not None


def test_a_server_that_becomes_another_is_refused(llama):
    from tests.runtimes.completions_server import Proxy, listening

    build = ["one"]

    def answer(path, value):
        return {**value, "build_info": build[0]} if path == "/props" else value

    with listening(Proxy(llama.client, answer=answer)) as address:
        place = Address.parse(address)
        with connected(place, patience=QUICK) as found:
            found.check_unchanged()
            build[0] = "two"
            with pytest.raises(ServerError, match="build was 'one' and is 'two'; run again"):
                found.check_unchanged()
