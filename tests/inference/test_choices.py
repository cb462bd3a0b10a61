"""Packed scoring gives the log-likelihoods of one forward pass per option, whatever the order and batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.inference import Choices, encode_choices, score
from calbench.inference import _choices as choices
from calbench.inference import _heads as heads
from calbench.inference._agreement import agree
from calbench.inference._choice_tokens import shared_prefix
from calbench.inference._choices import choice_method
from calbench.inference._scoring import batches
from calbench.inference._trees import Tree, _rows, n_tokens, tree_batch
from calbench.models import ModelSource
from calbench.tasks import ChoiceRequest, MultipleChoice, Question
from tests.tiny_models import decoder_like

RNG = np.random.default_rng(0)
# float32 sums in another order, on log-likelihoods of order 1 to 100
TOLERANCE = 1e-4


def words(n):
    return " ".join(f"w{k}" for k in RNG.integers(60, size=n))


ITEMS = [
    Question(
        f"i{n:02}",
        words(RNG.integers(2, 12)),
        tuple(words(RNG.integers(1, 6)) for _ in range(RNG.integers(2, 6))),
        0,
    )
    for n in range(12)
]
PREAMBLE = words(40) + "\n\n"
PLAIN = ChoiceRequest("sum", "Text: {question} Sentiment:")


@pytest.fixture(scope="module")
def decoder(tiny_decoder):
    source = ModelSource("d", "causal-lm", str(tiny_decoder), max_length=120)
    return source.load(), source.load_tokenizer(), source


def naive(model, tokenizer, request, item):
    """One forward pass per option, over the whole text."""
    import torch

    sums, counts = [], []
    context = tokenizer(request.text(item).rstrip())["input_ids"]
    for continuation in request.continuations(item):
        whole = tokenizer(request.text(item) + continuation)["input_ids"]
        answer = whole[len(context) :]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([whole])).logits[0]
        log_probs = logits.log_softmax(-1)[len(context) - 1 : -1]
        sums.append(float(log_probs[range(len(answer)), answer].sum()))
        counts.append(len(answer))
    return np.array(sums) / request.lengths(item, counts)


def assert_equals_naive(decoder, request, items=ITEMS):
    found = score(*decoder, request, items).logits
    for row, item in zip(found, items, strict=True):
        expected = naive(*decoder[:2], request, item)
        np.testing.assert_allclose(row[: len(expected)], expected, atol=TOLERANCE)
        assert (row[len(expected) :] == -np.inf).all()


@pytest.mark.parametrize(
    "request_",
    [
        PLAIN,
        ChoiceRequest("mean-per-token", PLAIN.prompt),
        ChoiceRequest("mean-per-byte", PLAIN.prompt),
        ChoiceRequest("sum", PLAIN.prompt, PREAMBLE),
        ChoiceRequest("sum", "Text: {question}\n{options}\nSentiment:", PREAMBLE),
    ],
    ids=["sum", "mean-per-token", "mean-per-byte", "shared-prefix", "options-shown"],
)
def test_scores_equal_one_forward_pass_per_option(decoder, request_):
    assert_equals_naive(decoder, request_)


def test_the_letter_is_what_a_model_continues_with(decoder, tiny_decoder_with_letters):
    source = ModelSource("l", "causal-lm", str(tiny_decoder_with_letters), max_length=120)
    letters = ChoiceRequest("letter", "Text: {question} {options} Sentiment:")
    assert_equals_naive((source.load(), source.load_tokenizer(), source), letters)


def test_a_shared_prefix_is_read_once(decoder, monkeypatch):
    n_tokens = []
    score(*decoder, PLAIN, ITEMS)  # how the model can be read is found out once
    hook = decoder[0].base_model.register_forward_pre_hook(
        lambda _, __, kwargs: n_tokens.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    scored = score(*decoder, dataclasses.replace(PLAIN, preamble=PREAMBLE), ITEMS)
    hook.remove()
    assert scored.engine == "trees after a prefix of 41 tokens"
    assert n_tokens.count((1, 41)) == 1
    assert sum(rows * width for rows, width in n_tokens) < 0.6 * sum(
        len(decoder[1](PREAMBLE + item.text)["input_ids"]) * len(item.options) for item in ITEMS
    )


def test_the_order_of_items_changes_nothing(decoder):
    request = dataclasses.replace(PLAIN, preamble=PREAMBLE)
    forward = score(*decoder, request, ITEMS).logits
    np.testing.assert_array_equal(score(*decoder, request, ITEMS[::-1]).logits, forward[::-1])


def test_batch_size_changes_no_score_by_more_than_1e_4(decoder, monkeypatch):
    default = score(*decoder, PLAIN, ITEMS).logits
    monkeypatch.setattr(choices, "TOKENS_PER_BATCH", 1)
    finite = np.isfinite(default)
    one_by_one = score(*decoder, PLAIN, ITEMS).logits
    np.testing.assert_allclose(one_by_one[finite], default[finite], atol=TOLERANCE)


def test_what_batching_changes_is_measured(decoder, monkeypatch):
    assert 0 < score(*decoder, PLAIN, ITEMS).noise_floor <= TOLERANCE
    read = choices.ChoiceMethod.read
    monkeypatch.setattr(choices.ChoiceMethod, "read", lambda self, rows: read(self, rows) + len(rows))
    assert score(*decoder, PLAIN, ITEMS).noise_floor > 1


def test_options_that_begin_alike_are_read_once_up_to_where_they_part(decoder):
    alike = Question("a", "w1", ("w2 w3 w4 w5", "w2 w3 w6 w7", "w2 w3 w4 w5", "w2"), 0)
    tree = Tree(0)
    tree.add(encode_choices(decoder[1], PLAIN, [alike], max_length=99)[0][0])
    words_read = decoder[1].decode(tree.tokens)
    assert words_read == "Text: w1 Sentiment: w2 w3 w4 w6"
    assert_equals_naive(decoder, PLAIN, [alike])


def test_questions_fill_rows_and_share_what_they_begin_with(decoder):
    questions, _ = encode_choices(decoder[1], PLAIN, ITEMS, max_length=99)
    batch = tree_batch(questions, n_prefix=0, dtype=decoder[0].dtype, device="cpu")
    sizes = [n_tokens(question, 0) for question in questions]
    n_rows, width = batch.ids.shape
    assert n_rows < len(ITEMS)
    # padded to the longest, a batch of these is a third padding
    assert n_rows * width < 1.02 * sum(sizes) < 0.75 * len(sizes) * max(sizes)
    row = Tree(0)
    for question in questions[:2]:
        row.add(question)
    assert questions[0].context[0] == questions[1].context[0]
    assert len(row.tokens) == sum(sizes[:2]) - 1


def test_rows_are_as_many_as_cost_least():
    assert _rows([5, 5], 0) == [0, 1]
    assert _rows([6, 3, 3], 0) == [0, 1, 1]
    assert _rows([50, 30, 10, 10], 0) == [0, 1, 1, 1]


def test_short_questions_join_long_ones_in_a_batch(decoder):
    long = dataclasses.replace(ITEMS[0], id="long", text=words(60))
    items = [long, *(dataclasses.replace(ITEMS[1], id=f"s{i}", text=words(1)) for i in range(20))]
    method = choice_method(*decoder, PLAIN, items)
    size = sum(method.lengths)
    assert len(items) * max(method.lengths) > 2 * size
    for packs, n_batches in ((True, 1), (False, 2)):
        asked = dataclasses.replace(method, packs=packs, budget=size)
        assert len(list(batches(asked, range(len(items))))) == n_batches


def test_a_model_that_does_not_heed_the_mask_of_a_tree_is_asked_in_rows(decoder):
    fresh = decoder[2].load()
    hook = fresh.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "attention_mask": None}), with_kwargs=True
    )
    words_of_one_token = [dataclasses.replace(item, options=("w1", "w2")) for item in ITEMS]
    scored = score(fresh, *decoder[1:], PLAIN, words_of_one_token)
    hook.remove()
    assert scored.engine == "one option per row"
    np.testing.assert_allclose(
        scored.logits, score(*decoder, PLAIN, words_of_one_token).logits, atol=TOLERANCE
    )


def test_a_question_fills_a_row_of_its_own_where_it_is_alone(decoder):
    questions, _ = encode_choices(decoder[1], PLAIN, ITEMS[:1], max_length=99)
    batch = tree_batch(questions, n_prefix=0, dtype=decoder[0].dtype, device="cpu")
    assert tuple(batch.ids.shape) == (1, n_tokens(questions[0], 0))


def test_equal_questions_are_asked_once(decoder):
    twins = [dataclasses.replace(item, id=f"{item.id}-again") for item in ITEMS]
    scored = score(*decoder, PLAIN, ITEMS + twins)
    assert scored.n_asked == len(ITEMS)
    np.testing.assert_array_equal(scored.logits[: len(ITEMS)], scored.logits[len(ITEMS) :])


def test_a_sliding_window_shorter_than_the_question_is_respected(decoder):
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(**{**decoder[0].config.to_dict(), "sliding_window": 8, "initializer_range": 0.3})
    windowed = MistralForCausalLM(config).eval()
    windowed.load_state_dict(decoder[0].state_dict())
    assert score(windowed, *decoder[1:], PLAIN, ITEMS).engine == "one option per row"
    assert_equals_naive((windowed, *decoder[1:]), PLAIN)


def test_a_window_that_covers_the_questions_allows_trees(decoder):
    config = dataclasses.make_dataclass("Config", ["rope_parameters", "sliding_window", "layer_types"])
    assert choices.takes_trees(config({}, 100, ["sliding_attention", "full_attention"]), 100)
    assert not choices.takes_trees(config({}, 99, ["sliding_attention", "full_attention"]), 100)
    assert not choices.takes_trees(config({}, 99, None), 100)
    assert not choices.takes_trees(config({}, None, ["linear_attention"]), 100)
    assert not choices.takes_trees(config(None, None, None), 100)


@pytest.mark.parametrize("factor", [3, 1.01])
def test_a_model_that_changes_its_logits_after_the_head_is_asked_as_a_whole(factor, decoder, monkeypatch):
    expected = score(*decoder, PLAIN, ITEMS).logits
    monkeypatch.setattr(heads, "vocabulary_logits", lambda m: lambda h: factor * m.get_output_embeddings()(h))
    fresh = decoder[2].load()
    scored = score(fresh, *decoder[1:], PLAIN, ITEMS)
    assert scored.engine == "one option per row, the model's own logits"
    np.testing.assert_allclose(scored.logits, expected, atol=TOLERANCE)


def test_a_batch_that_turns_an_answer_round_does_not_agree(decoder):
    import torch

    alone, turned = torch.tensor([-20.0, -20.9]), torch.tensor([-20.9, -20.0])
    assert agree(decoder[0], alone + 1e-4, alone)
    assert not agree(decoder[0], turned, alone)


def test_a_batch_of_16_bit_numbers_may_round_otherwise(decoder):
    import torch

    alone = torch.tensor([-4.4, -1.0])
    assert agree(decoder[2].load(torch.bfloat16), alone + 0.26, alone, largest=20.0)
    assert not agree(decoder[0], alone + 0.26, alone, largest=20.0)


SOFT_CAPS = {
    "Gemma2": {"num_key_value_heads": 2, "initializer_range": 0.3, "final_logit_softcapping": 2.0},
    "RecurrentGemma": {
        "block_types": ["recurrent", "attention"],
        "w_init_variance_scale": 0.3,
        "lru_width": 64,
        "logits_soft_cap": 2.0,
    },
}


@pytest.mark.parametrize("kind", SOFT_CAPS)
def test_a_soft_cap_is_applied(kind, decoder):
    model = decoder_like(decoder[0], kind, head_dim=16, **SOFT_CAPS[kind])
    assert_equals_naive((model, *decoder[1:]), PLAIN, ITEMS[:6])


def test_long_contexts_are_cut_from_the_left_and_counted(decoder):
    model, tokenizer, source = decoder
    short = dataclasses.replace(source, max_length=50)
    long_items = [
        dataclasses.replace(item, text=words(40)) if i % 3 == 0 else item for i, item in enumerate(ITEMS)
    ]
    request = ChoiceRequest("sum", PLAIN.prompt, words(20) + "\n\n")
    encoded, cut = encode_choices(tokenizer, request, long_items, max_length=50)
    scored = score(model, tokenizer, short, request, long_items)
    assert scored.n_truncated == sum(cut) == 4
    assert scored.engine == "trees after a prefix of 21 tokens"
    for question, was_cut, item, row in zip(encoded, cut, long_items, scored.logits, strict=True):
        whole = tokenizer(request.text(item))["input_ids"]
        assert list(question.context) == whole[len(whole) - len(question.context) :]
        assert (len(question.context) < len(whole)) == was_cut
        rebuilt = ChoiceRequest("sum", "{question}")
        text = tokenizer.decode(question.context)
        np.testing.assert_allclose(
            row[: len(item.options)],
            naive(model, tokenizer, rebuilt, dataclasses.replace(item, text=text)),
            atol=TOLERANCE,
        )


def test_long_contexts_are_refused_where_the_task_says_so(decoder):
    model, tokenizer, source = decoder
    strict = dataclasses.replace(PLAIN, preamble=words(200), overlong="refuse")
    with pytest.raises(InputError, match=r"'i00' is 2\d\d tokens long and the model's context 120"):
        score(model, tokenizer, source, strict, ITEMS)


def test_nan_is_refused(decoder):
    import torch

    broken = decoder[2].load()
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    with pytest.raises(InputError):
        score(broken, *decoder[1:], PLAIN, ITEMS)


def test_quantized_modules_are_scored_the_same_way(decoder):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    from calbench import quantizers

    model, tokenizer, source = decoder
    probe = [tokenizer(PLAIN.text(item))["input_ids"] for item in ITEMS[:4]]
    quantized = quantizers.quantize(quantizers.get("bnb-int8"), source, probe=probe).module
    assert_equals_naive((quantized, tokenizer, source), dataclasses.replace(PLAIN, preamble=PREAMBLE))
    changed, before = (score(m, tokenizer, source, PLAIN, ITEMS).logits for m in (quantized, model))
    finite = np.isfinite(changed)
    assert np.abs(changed[finite] - before[finite]).max() > 0.01


class TestTokens:
    def test_spaces_that_end_a_context_belong_to_the_option(self, decoder):
        request = ChoiceRequest("sum", "Text: {question}   ")
        item = Question("a", "w1", ("w2", "w3 w4"), 0)
        (found,), _ = encode_choices(decoder[1], request, [item], max_length=99)
        assert decoder[1].decode(found.context) == "Text: w1"
        assert [len(option) for option in found.options] == [1, 2]

    def test_a_question_that_spells_out_the_first_token_leaves_it_to_the_others(self, decoder):
        from tokenizers.processors import TemplateProcessing

        tokenizer = decoder[2].load_tokenizer()
        tokenizer.bos_token, bos = "w59", tokenizer("w59")["input_ids"][0]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="w59 $A", special_tokens=[("w59", bos)]
        )
        spells = Question("a", "w59 w9", ("w2", "w3"), 0)
        bare = ChoiceRequest("sum", "{question}")
        found, _ = encode_choices(tokenizer, bare, [spells, *ITEMS], max_length=99)
        assert [question.context.count(bos) for question in found] == [
            1,
            *(1 + item.text.split().count("w59") for item in ITEMS),
        ]

    def test_an_option_without_a_token_is_refused(self):
        def tokenizer(texts, **_):
            return {"input_ids": [[1, 2] for _ in texts]}

        tokenizer.bos_token = None
        with pytest.raises(InputError, match="'a': an option adds no token"):
            encode_choices(tokenizer, PLAIN, [Question("a", "w1", ("w2", "w3"), 0)], max_length=99)

    def test_a_prefix_leaves_a_token_to_every_context(self):
        def of(*contexts):
            return shared_prefix([Choices(context, ((1,),)) for context in contexts])

        assert of((1, 2, 3, 4), (1, 2, 3), (1, 2, 3, 5)) == (1, 2)
        assert of((1, 2), (3, 4)) == ()
        assert of((1, 2, 3)) == (1, 2)
        assert of() == ()


def test_shots_are_shown_answered_and_not_asked(decoder):
    task = MultipleChoice("t", lambda: ITEMS, PLAIN.prompt, rule="sum", n_shots=2, n_quantization=4)
    request = task.request(decoder[2])
    shown = task.partition.training
    assert [request.preamble.count(item.text) for item in shown] == [1, 1]
    assert not {item.id for item in shown} & {item.id for item in task.partition.evaluation}
    assert_equals_naive(decoder, request, task.partition.evaluation)


def test_falcon_with_alibi_is_asked_one_option_per_row(decoder):
    import torch
    from transformers import FalconConfig, FalconForCausalLM

    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    config = FalconConfig(
        **{name: getattr(decoder[0].config, name) for name in sizes},
        alibi=True,
        multi_query=False,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FalconForCausalLM(config).eval()
    assert_equals_naive((model, *decoder[1:]), PLAIN, ITEMS[:4])


def test_a_model_whose_body_is_not_known_is_asked_as_a_whole(decoder, monkeypatch):
    expected = score(*decoder, PLAIN, ITEMS).logits
    monkeypatch.setattr(type(decoder[0]), "base_model_prefix", "body")
    scored = score(decoder[2].load(), *decoder[1:], PLAIN, ITEMS)
    assert "own logits" in scored.engine
    np.testing.assert_allclose(scored.logits, expected, atol=TOLERANCE)
