"""Items that cannot be asked, or are not answered: one line that names the item, and nothing kept of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

pytest.importorskip("httpx", reason="servers are asked with httpx")
pytest.importorskip("torch", reason="models need torch")

from calbench.errors import InputError, ServerError
from calbench.inference import NoShards
from calbench.models import Address, ModelSource
from calbench.runtimes import Patience, connected
from calbench.tasks import Item, SequenceClassification

QUICK = Patience(seconds=60.0, n_tries=2, first_pause=0.001)


class Kept(NoShards):
    """Notes what was kept."""

    def __init__(self):
        self.names = []

    def put(self, name, values):
        self.names.append(name)


def words(*texts):
    items = [Item(f"i{n:02}", text, 0) for n, text in enumerate(texts)]
    return SequenceClassification(
        "t",
        ("no", "yes"),
        lambda: items,
        prompt="{text} Sentiment:",
        label_words=("no", "yes"),
        n_quantization=0,
    )


@pytest.fixture
def score(serve, bos_decoder):
    from transformers import AutoTokenizer

    def score(task, *, max_length=4096, instead=None, context=None):
        address, server = serve()
        source = ModelSource("m", "causal-lm", str(bos_decoder), max_length=max_length)
        tokenizer, shards = AutoTokenizer.from_pretrained(bos_decoder), Kept()
        with connected(Address.parse(address), tokenizer=tokenizer, patience=QUICK) as found:
            server.instead = instead or server.instead
            runtime = replace(found, context=context or found.context).runtime(source)
            items = task.dataset.items
            request = task.request(source)
            scored = None
            try:
                scored = runtime.score(request, items, shards=shards, on_progress=lambda *_: None)
            except (InputError, ServerError) as error:
                return error, shards.names
        return scored, shards.names

    return score


def test_what_is_longer_than_the_servers_context_is_cut_and_counted(score):
    scored, _ = score(words("w1 w2", " ".join(["w3"] * 300)))
    assert scored.n_truncated == 1


def test_a_server_whose_context_is_smaller_than_it_says_refuses_the_item(score):
    error, kept = score(words("w1 w2", " ".join(["w3"] * 300)), context=4096)
    assert "item 'i01'" in str(error)
    assert "maximum context length is 128" in str(error)
    assert not kept


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, "<html>", {}), "sends no JSON"),
        ((200, '{"error": {"message": "out of memory"}}', {}), "out of memory"),
        ((200, '{"choices": []}', {}), "holds no choices"),
        ((200, '{"choices": [{"prompt_logprobs": [null, null, null]}]}', {}), "prompt_logprobs"),
        ((302, "", {"location": "http://evil.example"}), "redirects"),
        ((500, "down", {}), r"answers 500: down \(asked 2 times\)"),
    ],
)
def test_an_item_that_is_not_answered_is_named_and_nothing_of_it_is_kept(score, answer, reason):
    error, kept = score(words("w1 w2", "w3"), instead=lambda path, body: answer)
    assert isinstance(error, ServerError)
    assert re.match(r"item 'i00': http://127\.0\.0\.1:\d+/v1", str(error))
    assert re.search(reason, str(error))
    assert not kept
