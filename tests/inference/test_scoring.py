"""Scores are those of the model asked one item at a time, whatever the order and the batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calbench.adaptation import Student
from calbench.adaptation._answers import encode
from calbench.errors import InputError, UnanswerableError
from calbench.inference import _classification as classification
from calbench.inference import _scoring as scoring
from calbench.inference import moved_by_asking, score
from calbench.models import ModelSource
from calbench.tasks import ClassificationRequest, Item, SequenceClassification
from tests.tiny_models import write_tokenizer

RNG = np.random.default_rng(0)
ITEMS = [
    Item(f"i{n:02}", " ".join(f"w{k}" for k in RNG.integers(60, size=RNG.integers(1, 25))), 0)
    for n in range(40)
]
HEAD = ClassificationRequest("head", columns=(1, 0))
WORDS = ClassificationRequest("label-words", "Text: {text} Sentiment:", ("negative", "positive"))


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    source = ModelSource("e", "sequence-classification", str(tiny_encoder), max_length=64)
    return source.load(), source.load_tokenizer(), source


@pytest.fixture(scope="module")
def decoder(tiny_decoder):
    source = ModelSource("d", "causal-lm", str(tiny_decoder), max_length=64)
    return source.load(), source.load_tokenizer(), source


def one_by_one(model, tokenizer, request, item):
    import torch

    inputs = tokenizer(request.text(item), return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=inputs["input_ids"]).logits
    if request.scoring == "head":
        return logits[0, list(request.columns)].numpy()
    words = [tokenizer(word)["input_ids"][0] for word in request.label_words]
    return logits[0, -1, words].numpy()


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_batched_scores_equal_one_at_a_time(kind, request):
    model, tokenizer, source = request.getfixturevalue(kind)
    asked = HEAD if kind == "encoder" else WORDS
    scored = score(model, tokenizer, source, asked, ITEMS)
    expected = [one_by_one(model, tokenizer, asked, item) for item in ITEMS]
    # float32 sums in another order, on logits of order 1 to 10
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)


def test_a_label_of_several_is_answered_by_the_sigmoid_of_its_output(encoder):
    model, tokenizer, source = encoder
    labelled = dataclasses.replace(source, multi_label=True, classes=("rude", "spam"))
    task = SequenceClassification("t", ("no", "yes"), lambda: ITEMS, output="spam")
    logits = score(model, tokenizer, labelled, task.request(labelled), ITEMS).logits
    spam = score(model, tokenizer, source, HEAD, ITEMS).logits[:, 0]  # the second output
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probs[:, 1], 1 / (1 + np.exp(-spam)), atol=1e-6)


@pytest.mark.parametrize(("multi_label", "output"), [(True, ""), (True, "neither"), (False, "yes")])
def test_a_head_of_several_labels_wants_a_task_of_one_and_no_other_head_does(multi_label, output):
    source = ModelSource("e", "sequence-classification", "x", classes=("no", "yes"), multi_label=multi_label)
    with pytest.raises(UnanswerableError, match="the output = one label of a multi-label head"):
        SequenceClassification("t", ("no", "yes"), lambda: ITEMS, output=output).request(source)


def decoder_with_head(folder, pad):
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=write_tokenizer(folder),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,
        pad_token_id=pad,
    )
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    return ModelSource("d", "sequence-classification", str(folder), max_length=64)


@pytest.mark.parametrize("pad", [0, 5, None])  # the tokenizer's is 0
def test_a_decoders_head_reads_the_last_token_whatever_pads(pad, tmp_path):
    source = decoder_with_head(tmp_path, pad)
    tokenizer = source.load_tokenizer()
    scored = score(source.load(), tokenizer, source, HEAD, ITEMS)
    expected = [one_by_one(source.load(), tokenizer, HEAD, item) for item in ITEMS]
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)


def test_training_pads_a_decoders_head_as_scoring_does(tmp_path):
    source = decoder_with_head(tmp_path, 5)
    student = Student(source.load(), source.load_tokenizer(), source, HEAD)
    rows = list(range(len(ITEMS)))
    answers = encode(student, ITEMS).answers(student, rows).detach().numpy()
    np.testing.assert_allclose(
        answers, score(student.module, student.tokenizer, source, HEAD, ITEMS).logits, atol=1e-4
    )


def test_a_head_without_any_padding_token_is_padded_with_one_that_ends_no_text(tmp_path):
    source = decoder_with_head(tmp_path, None)
    tokenizer = source.load_tokenizer()
    tokenizer.pad_token = None
    scored = score(source.load(), tokenizer, source, HEAD, ITEMS)
    expected = [one_by_one(source.load(), tokenizer, HEAD, item) for item in ITEMS]
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)


def test_a_head_reads_the_end_token_though_it_is_the_padding_token_too(tmp_path):
    source = decoder_with_head(tmp_path, None)
    tokenizer = source.load_tokenizer()
    items = [Item(item.id, f"{item.text} [PAD]", 0) for item in ITEMS]
    scored = score(source.load(), tokenizer, source, HEAD, items)
    expected = [one_by_one(source.load(), tokenizer, HEAD, item) for item in items]
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)


def test_the_order_of_items_changes_nothing(decoder, monkeypatch):
    monkeypatch.setattr(classification, "TOKENS_PER_BATCH", 64)
    forward = score(*decoder, WORDS, ITEMS).logits
    backward = score(*decoder, WORDS, ITEMS[::-1]).logits
    np.testing.assert_array_equal(forward, backward[::-1])


def test_batch_size_changes_no_logit_by_more_than_1e_4(decoder, monkeypatch):
    default = score(*decoder, WORDS, ITEMS).logits
    monkeypatch.setattr(classification, "TOKENS_PER_BATCH", 16)
    np.testing.assert_allclose(score(*decoder, WORDS, ITEMS).logits, default, atol=1e-4)


def test_progress_reaches_the_number_of_items(encoder):
    seen = []
    score(*encoder, HEAD, ITEMS, on_progress=seen.append)
    assert seen[-1] == len(ITEMS)
    assert seen == sorted(seen)


def test_long_inputs_are_cut_and_counted(encoder, decoder):
    for (model, tokenizer, source), asked in ((encoder, HEAD), (decoder, WORDS)):
        short = dataclasses.replace(source, max_length=8)
        n_long = sum(len(tokenizer(asked.text(item))["input_ids"]) > 8 for item in ITEMS)
        assert n_long > 0
        assert score(model, tokenizer, short, asked, ITEMS).n_truncated == n_long


def test_a_cut_prompt_keeps_its_question(decoder):
    _, tokenizer, source = decoder
    short = dataclasses.replace(source, max_length=8)
    kept = scoring.encode_texts(tokenizer, short, WORDS, ITEMS)
    assert {tokens[-1] for tokens in kept} == set(tokenizer("Sentiment:")["input_ids"])


def test_a_label_word_of_two_tokens_is_refused(decoder):
    split = dataclasses.replace(WORDS, label_words=("negative", "very positive"))
    with pytest.raises(InputError, match="'very positive' is 2 tokens"):
        score(*decoder, split, ITEMS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("negative", "nowhere"), "'nowhere' is not in this model's vocabulary"),
        (("negative", " negative"), "'negative' and ' negative' are one and the same token"),
    ],
)
def test_label_words_without_a_token_of_their_own_are_refused(words, message, decoder):
    with pytest.raises(InputError, match=message):
        score(*decoder, dataclasses.replace(WORDS, label_words=words), ITEMS)


def test_nan_logits_are_refused(tiny_encoder, encoder):
    import torch

    broken = encoder[2].load()
    with torch.no_grad():
        broken.classifier.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        score(broken, *encoder[1:], HEAD, ITEMS)


def test_an_input_longer_than_the_positions_that_a_model_learned_is_refused(encoder):
    longer = dataclasses.replace(encoder[2], max_length=512)
    item = Item("a", " ".join(["w1"] * 80), 0)
    with pytest.raises(InputError, match="places for 64 tokens, and an input takes 80; declare"):
        score(*encoder[:2], longer, HEAD, [item])
    assert score(*encoder[:2], longer, HEAD, ITEMS).n_truncated == 0


def test_positions_that_padding_takes_are_not_counted(encoder):
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(
        vocab_size=encoder[0].config.vocab_size,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=34,
    )
    model = RobertaForSequenceClassification(config).eval()
    source = dataclasses.replace(encoder[2], max_length=512)
    full, over = (Item(f"i{n}", " ".join(["w2"] * n), 0) for n in (32, 33))
    score(model, *encoder[1:2], source, HEAD, [full])
    with pytest.raises(InputError, match="places for 32 tokens"):
        score(model, *encoder[1:2], source, HEAD, [over])


def test_a_pair_is_shown_with_the_segments_that_the_model_tells_apart(encoder):
    import torch
    from tokenizers import processors

    model, _, source = encoder
    tokenizer = source.load_tokenizer()
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A:0 $B:1", special_tokens=[]
    )
    pairs = [Item(f"p{n}", " ".join(["w1"] * (n + 1)), 0, pair=f"w{n} w7") for n in range(6)]
    scored = score(model, tokenizer, source, HEAD, pairs)
    with torch.no_grad():
        expected = [
            model(**tokenizer(item.text, item.pair, return_tensors="pt")).logits[0, [1, 0]].numpy()
            for item in pairs
        ]
        flat = [
            model(tokenizer(item.text, item.pair, return_tensors="pt")["input_ids"]).logits[0, [1, 0]]
            for item in pairs
        ]
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)
    assert np.abs(scored.logits - np.array(flat)).max() > 1e-2
    long = [Item("l", "w1 " * 90, 0, pair="w2 w3"), *pairs]
    assert score(model, tokenizer, source, HEAD, long).n_truncated == 1


def test_adapters_are_not_trained_on_pairs(encoder):
    _model, tokenizer, source = encoder
    with pytest.raises(InputError, match="not trained on pairs"):
        scoring.encode_texts(tokenizer, source, HEAD, [Item("p", "w1", 0, pair="w2")])


def test_what_asking_twice_moves_is_told_in_logits_and_in_confidences():
    first = np.array([[2.0, 0.0, -np.inf], [1.0, 1.0, 0.0]])
    again = np.array([[2.0, 0.0, -np.inf], [1.5, 1.0, 0.0]])
    most, mean = moved_by_asking(again, first)
    sure = [np.exp(1.5) / (np.exp(1.5) + np.e + 1), np.e / (2 * np.e + 1)]
    assert most == 0.5
    assert mean == pytest.approx((sure[0] - sure[1]) / 2)
