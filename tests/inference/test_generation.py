"""Open questions: greedy answers, three kinds of confidence, and which answers count as right."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.inference import _generation as generation
from calbench.inference import _heads as heads
from calbench.inference import generate
from calbench.models import ModelSource
from calbench.records import TopLabelPredictions
from calbench.tasks import Generation, GenerationRequest, Item, OpenQuestion, is_right
from tests.tiny_models import decoder_like

ITEMS = [OpenQuestion(f"i{n}", f"w{n} w{2 * n + 1} w{n + 5}", ("w1",)) for n in range(8)]
REQUEST = GenerationRequest("Text: {question} Sentiment:", max_new_tokens=5)


@pytest.fixture(scope="module")
def decoder(tiny_decoder):
    source = ModelSource("d", "causal-lm", str(tiny_decoder), max_length=120)
    return source.load(), source.load_tokenizer(), source


def greedy(model, tokenizer, prompt, n_tokens):
    """Whole forward passes, one per token."""
    import torch

    ids, log_probs = tokenizer(prompt)["input_ids"], []
    for _ in range(n_tokens):
        with torch.no_grad():
            row = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        ids = [*ids, int(row.argmax())]
        log_probs.append(float(row.max()))
    return tokenizer.decode(ids[-n_tokens:], skip_special_tokens=True), log_probs


def test_answers_and_confidence_are_those_of_whole_forward_passes(decoder):
    found = generate(*decoder, REQUEST, ITEMS)
    for item, answer, confidence in zip(ITEMS, found.answers, found.predictions.confidences, strict=True):
        text, log_probs = greedy(*decoder[:2], REQUEST.text(item), 5)
        assert answer == text
        assert confidence == pytest.approx(math.exp(np.mean(log_probs)), abs=1e-5)


HYBRIDS = {
    "Lfm2": {"layer_types": ["conv", "full_attention"]},
    "Bamba": {
        "attn_layer_indices": [1],
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
        "mamba_n_groups": 1,
        "mamba_d_state": 16,
        "mamba_chunk_size": 32,
    },
}


@pytest.mark.parametrize("kind", HYBRIDS)
def test_models_with_layers_of_two_kinds_answer_as_in_whole_forward_passes(kind, decoder):
    ends = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    options = HYBRIDS[kind] | ends | {"num_key_value_heads": 2, "initializer_range": 0.3}
    model = decoder_like(decoder[0], kind, **options)
    found = generate(model, *decoder[1:], REQUEST, ITEMS[:2])
    for item, answer in zip(ITEMS, found.answers, strict=False):
        assert answer == greedy(model, decoder[1], REQUEST.text(item), 5)[0]


def test_a_model_without_a_cache_of_keys_does_not_forget_its_prompt(decoder):
    model = decoder_like(decoder[0], "Mamba", state_size=4, initializer_range=0.5, eos_token_id=None)
    found = generate(model, *decoder[1:], REQUEST, ITEMS[:2])
    for item, answer, confidence in zip(ITEMS, found.answers, found.predictions.confidences, strict=False):
        text, log_probs = greedy(model, decoder[1], REQUEST.text(item), 5)
        assert answer == text
        assert confidence == pytest.approx(math.exp(np.mean(log_probs)), abs=1e-5)


def test_the_order_of_items_changes_nothing(decoder):
    forward, backward = (generate(*decoder, REQUEST, items) for items in (ITEMS, ITEMS[::-1]))
    assert forward.answers == backward.answers[::-1]
    np.testing.assert_array_equal(forward.predictions.confidences, backward.predictions.confidences[::-1])


def test_an_accepted_answer_is_right(decoder):
    answers = generate(*decoder, REQUEST, ITEMS).answers
    knowing = [
        dataclasses.replace(item, answers=("w0", f"The {answer}!") if i % 2 else ("w0",))
        for i, (item, answer) in enumerate(zip(ITEMS, answers, strict=True))
    ]
    assert generate(*decoder, REQUEST, knowing).predictions.correct.tolist() == [False, True] * 4


def test_an_answer_ends_at_a_stop_text(decoder):
    whole = generate(*decoder, REQUEST, ITEMS[:1]).answers[0].split()
    stopped = dataclasses.replace(REQUEST, stop=(f" {whole[2]}",))
    found = generate(*decoder, stopped, ITEMS[:1])
    assert found.answers[0].split() == whole[: whole.index(whole[2])]


def test_an_answer_ends_at_any_end_token_of_the_model(decoder, tiny_decoder, tmp_path):
    model, tokenizer, source = decoder
    whole = generate(*decoder, REQUEST, ITEMS[:1])
    tokens = tokenizer(whole.answers[0])["input_ids"]
    at = next(i for i in range(1, len(tokens)) if tokens[i] not in tokens[:i])
    _, log_probs = greedy(model, tokenizer, REQUEST.text(ITEMS[0]), at)
    shutil.copytree(tiny_decoder, folder := tmp_path / "chat")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, tokens[at]]}))
    chat = dataclasses.replace(source, location=str(folder))
    # The second is a checkpoint whose own settings name no such token.
    for module in (chat.load(), model):
        found = generate(module, tokenizer, chat, REQUEST, ITEMS[:1])
        assert found.answers[0].split() == whole.answers[0].split()[:at]
        assert found.predictions.confidences[0] == pytest.approx(math.exp(np.mean(log_probs)), abs=1e-5)


def test_p_true_is_the_share_of_true_among_true_and_false(decoder, monkeypatch):
    import torch

    model, tokenizer, _ = decoder
    monkeypatch.setattr(generation, "TRUE_OR_FALSE", ("yes", "no"))
    found = generate(*decoder, dataclasses.replace(REQUEST, confidence="p-true"), ITEMS[:2])
    for item, answer, confidence in zip(ITEMS, found.answers, found.predictions.confidences, strict=False):
        prompt = f"{REQUEST.text(item)} {answer}{generation.ASK_TRUE}"
        with torch.no_grad():
            row = model(**tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)).logits[0, -1]
        two = row[[tokenizer("yes")["input_ids"][0], tokenizer("no")["input_ids"][0]]].softmax(-1)
        assert confidence == pytest.approx(float(two[0]), abs=1e-5)


@pytest.mark.parametrize(
    ("reply", "confidence", "n_unreported"),
    [(" 85%", 0.85, 0), ("about 7.5 percent", 0.075, 0), ("very", 0.0, 1), ("250", 0.0, 1)],
)
def test_a_self_report_is_read_or_counted_as_missing(reply, confidence, n_unreported, decoder, monkeypatch):
    write = generation._Writer.write

    def replying(self, prompt, **options):
        written = write(self, prompt, **options)
        return dataclasses.replace(written, text=reply) if prompt.endswith("Confidence:") else written

    monkeypatch.setattr(generation._Writer, "write", replying)
    found = generate(*decoder, dataclasses.replace(REQUEST, confidence="self-reported"), ITEMS[:1])
    assert found.predictions.confidences.tolist() == [confidence]
    assert found.n_unreported == n_unreported


def test_long_prompts_lose_their_beginning_and_are_counted(decoder):
    short = dataclasses.replace(decoder[2], max_length=8)
    found = generate(*decoder[:2], short, REQUEST, ITEMS)
    assert found.n_truncated == len(ITEMS)
    with pytest.raises(InputError, match="lower max_new_tokens"):
        generate(*decoder[:2], dataclasses.replace(short, max_length=5), REQUEST, ITEMS)


def test_what_is_made_is_a_record_that_the_file_commands_read(decoder, tmp_path):
    made = generate(*decoder, REQUEST, ITEMS).predictions
    made.write(tmp_path / "made.parquet")
    read = TopLabelPredictions.read(tmp_path / "made.parquet")
    np.testing.assert_array_equal(read.confidences, made.confidences)


def test_the_record_keeps_what_was_written_by_item(decoder):
    made = generate(*decoder, REQUEST, ITEMS)
    written = made.predictions.metadata["answers"]
    assert [written[item.id] for item in ITEMS] == list(made.answers)


def test_logits_without_a_number_are_refused(decoder):
    import torch

    broken = decoder[2].load()
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    with pytest.raises(InputError, match="answered with NaN"):
        generate(broken, *decoder[1:], REQUEST, ITEMS[:1])


def test_a_model_that_changes_its_logits_after_the_head_is_asked_as_a_whole(decoder, monkeypatch):
    expected = generate(*decoder, REQUEST, ITEMS)
    monkeypatch.setattr(heads, "vocabulary_logits", lambda m: lambda h: 3 * m.get_output_embeddings()(h))
    made = generate(*decoder, REQUEST, ITEMS)
    assert made.answers == expected.answers
    np.testing.assert_allclose(made.predictions.confidences, expected.predictions.confidences, atol=1e-5)


def test_chance_is_the_answer_that_most_questions_accept():
    known = [("yes",), ("Yes!", "yes"), ("no",), ("yes", "no")]
    items = [OpenQuestion(f"i{n}", f"w{n}", answers) for n, answers in enumerate(known)]
    assert Generation("t", lambda: items, n_quantization=0).chance == 0.75


@pytest.mark.parametrize(
    ("answer", "right"),
    [("paris", True), ("The Paris.", True), ("city of light", True), ("Paris, France", False), ("", False)],
)
def test_answers_are_compared_by_their_words(answer, right):
    assert is_right(answer, OpenQuestion("q", "?", ("Paris", "the City of Light", "..."))) is right


def test_other_items_and_models_are_refused(decoder):
    with pytest.raises(InputError, match="generation needs an OpenQuestion"):
        generate(*decoder, REQUEST, [Item("a", "x", 0)])
    with pytest.raises(InputError, match="no items"):
        generate(*decoder, REQUEST, [])
    with pytest.raises(InputError, match="in words"):
        Generation("t", lambda: ITEMS).request(ModelSource("e", "sequence-classification", "nowhere"))


def test_examples_are_shown_answered_and_not_asked(decoder):
    task = Generation("t", lambda: ITEMS, n_shots=2, n_quantization=0)
    shown = task.partition.training
    preamble = task.request(decoder[2]).preamble
    assert [preamble.count(f"Question: {item.text}\nAnswer: w1\n\n") for item in shown] == [1, 1]
    assert len(task.partition.evaluation) == len(ITEMS) - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "Answer:"}, r"no \{question\}"),
        ({"confidence": "gut"}, "'sequence', 'p-true', 'self-reported'"),
        ({"max_new_tokens": 0}, "1 or more"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Generation("t", lambda: ITEMS, **change)


def test_a_question_without_an_accepted_answer_is_refused():
    with pytest.raises(InputError, match="'a' has no accepted answer"):
        _ = Generation("t", lambda: [OpenQuestion("a", "?", ("!",))]).dataset
