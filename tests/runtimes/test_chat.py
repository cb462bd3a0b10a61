"""Chat endpoints: the first token of an answer, forced or refused where it is not told, never floored."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("httpx", reason="servers are asked with httpx")
pytest.importorskip("torch", reason="models need torch")

from calbench.errors import CalbenchError, InputError, ServerError, UnanswerableError
from calbench.inference import NoShards
from calbench.models import Address, ModelSource
from calbench.runtimes import Patience, connected
from calbench.tasks import Item, MultipleChoice, Question, SequenceClassification

QUICK = Patience(seconds=60.0, n_tries=2, first_pause=0.001)
SOURCE = ModelSource("m", "causal-lm", "")
ASK = {"shards": NoShards(), "on_progress": lambda *_: None}
WORDS = SequenceClassification(
    "words",
    ("no", "yes"),
    lambda: [Item(f"i{n}", f"w{n} w{n + 3}", n % 2) for n in range(6)],
    prompt="Text: {text} Sentiment:",
    label_words=(" no", " yes"),
    n_quantization=0,
)


@pytest.fixture
def tokenizer(bos_decoder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bos_decoder)


@pytest.fixture
def learn(serve, tokenizer):
    def learn(*faults, known=tokenizer, **options):
        address, server = serve(*faults, **options)
        place = Address.parse(f"{address}/chat/completions#tiny")
        with connected(place, tokenizer=known, patience=QUICK) as found:
            return found, server, place

    return learn


def answers(learn, *faults, **options):
    found, server, place = learn(*faults, **options)
    with connected(place, tokenizer=options.get("known", found.tokenizer), patience=QUICK) as found:
        items = WORDS.dataset.items
        scored = found.runtime(SOURCE).score(WORDS.request(SOURCE), items, **ASK)
        contents = [content for content, _ in found.server.prepared(WORDS.request(SOURCE), items).inputs]
    return found, scored.logits, server, contents


def told(server, contents, tokenizer):
    """What the model itself says of the two words, with all its vocabulary."""
    import torch

    ids = [tokenizer.convert_tokens_to_ids(word) for word in ("no", "yes")]
    rows = [torch.log_softmax(server.logits(tokenizer(text)["input_ids"])[-1], -1) for text in contents]
    return np.array([[float(row[token]) for token in ids] for row in rows])


def test_a_forced_token_has_its_raw_log_probability(learn, tokenizer):
    found, logits, server, contents = answers(learn, max_logprobs=5)
    assert found.server.forcing == "one"
    assert logits == pytest.approx(told(server, contents, tokenizer), abs=1e-6)


def test_tokens_that_share_a_bias_keep_their_differences(learn, tokenizer):
    found, logits, server, contents = answers(learn, max_logprobs=5, biased="processed")
    assert found.server.forcing == "together"
    right = told(server, contents, tokenizer)
    assert logits[:, 1] - logits[:, 0] == pytest.approx(right[:, 1] - right[:, 0], abs=1e-5)


def test_what_is_not_told_and_cannot_be_forced_is_refused(learn):
    with pytest.raises(ServerError, match=r"item 'i0'.*is not among the 5 likeliest first tokens"):
        answers(learn, max_logprobs=5, biased="ignored")


def test_without_a_tokenizer_nothing_is_forced(learn):
    found, *_ = learn(known=None)
    assert found.server.forcing == "none"
    assert any("no tokenizer is known" in check.what for check in found.test.checks)


def test_a_server_that_tells_fewer_tokens_is_asked_for_fewer(learn):
    found, *_ = learn(max_logprobs=5)
    assert found.server.top == 5


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no-logprobs", "sends no log-probabilities of the tokens"),
        ("unrepeatable", "the same message gives log-probabilities that differ"),
        ("unnormalised", "sum to"),
        ("reads-no-context", "they are not read"),
        ("nan", "is nan"),
        ("another-tokenizer", "the tokenizer here is another one"),
        ("mixed-up", "it mixes them up"),
        ("other-names", "the likeliest tokens are none to the tokenizer here"),
    ],
)
def test_a_planted_fault_is_found(learn, fault, reason):
    found, *_ = learn(fault)
    assert reason in (found.test.refusal or "nothing was found")


def test_a_temperature_that_shows_is_set_to_one(learn):
    found, *_ = learn("generated-processed")
    assert found.test.refusal is None
    (check,) = (check for check in found.test.checks if check.name == "raw log-probabilities")
    assert "asked at 1" in check.what


def test_whole_texts_are_refused(learn):
    found, *_ = learn()
    task = MultipleChoice("q", lambda: [Question("a", "w1", ("w2", "w3"), 0)], rule="sum", n_quantization=0)
    with pytest.raises(UnanswerableError, match="rule=letter"):
        found.server.prepared(task.request(SOURCE), task.dataset.items)


def test_a_word_of_several_tokens_is_refused(learn):
    found, *_ = learn()
    task = SequenceClassification(
        "t", ("a", "b"), lambda: [Item("a", "w1", 0)], prompt="{text}", label_words=(" w1", " w2 w3")
    )
    with pytest.raises(InputError, match="'w2 w3' is 2 tokens"):
        found.server.prepared(task.request(SOURCE), [Item("a", "w1", 0)])


def test_a_chat_of_llama_cpp_says_what_its_completions_say(llama):
    """The very tokens of the template, forced one by one over ``/completion``: the same numbers."""
    place = Address.parse(f"{llama.client.address.root}/v1/chat/completions")
    content, words = (
        "Is Paris in France?\n\nAnswer with one of these and nothing else: A, B, Z",
        ("A", "B", "Z"),
    )
    turn = {"messages": [{"role": "user", "content": content}]}
    tokens = llama.tokenize(llama.client.post("/apply-template", turn)["prompt"], special=True)
    with connected(place, key=llama.client.key) as found:
        assert found.test.refusal is None
        chat = found.server.log_probs(content, words)
        completed = [llama.log_probs(tokens, [found.server.id_of(word)])[0] for word in words]
    assert chat == pytest.approx(completed, abs=1e-3)


def test_no_chat_is_one_clear_line():
    with (
        pytest.raises(CalbenchError, match="is it running"),
        connected(Address.parse("http://127.0.0.1:9/v1/chat/completions#m"), patience=QUICK),
    ):
        pass
