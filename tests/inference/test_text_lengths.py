"""What a model says of a text does not depend on the texts that it was asked before or together with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calbench.errors import InputError
from calbench.inference import generate, score
from calbench.models import ModelSource
from calbench.tasks import ChoiceRequest, GenerationRequest, Item, OpenQuestion, Question
from tests.architectures import zoo
from tests.architectures.examination import HEAD, LABEL_WORDS, plain_model, source_of

ALIKE = [Item("a", "the cat sat", 0)]
TEXTS = [*zoo.texts(8, shortest=1, longest=20, seed=8), *zoo.texts(1, shortest=30, longest=30, seed=8)]
UNLIKE = [Item(f"t{i}", text, 0) for i, text in enumerate(TEXTS)]
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
}


def one_by_one(source, tokenizer, request, items, **cut):
    """Transformers' own answers, a text at a time."""
    model, rows = plain_model(source), []
    for item in items:
        ids = tokenizer(request.text(item), return_tensors="pt", **cut)["input_ids"]
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0]
        words = [tokenizer(word)["input_ids"][0] for word in request.label_words]
        rows.append((logits[-1, words] if words else logits).numpy())
    return np.stack(rows)


@pytest.mark.parametrize(
    ("model_type", "kind", "given"),
    [
        ("fnet", "head", {}),  # heeds no mask
        ("convbert", "head", {}),
        ("xlnet", "head", {}),  # reads the last place
        # What is longer than 24 tokens turns its positions, of all texts of a batch.
        ("phi3", "causal", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 24}),
    ],
)
def test_a_model_that_was_asked_texts_of_one_length_is_checked_anew_with_others(
    model_type, kind, given, tmp_path
):
    source = source_of(model_type, kind, zoo.build(model_type, kind, tmp_path, **given))
    model, tokenizer = source.load(), source.load_tokenizer()
    request = HEAD if kind == "head" else LABEL_WORDS
    score(model, tokenizer, source, request, ALIKE)
    scored = score(model, tokenizer, source, request, UNLIKE)
    expected = one_by_one(source, tokenizer, request, UNLIKE)
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4 * max(1, np.abs(expected).max()))


def turning(folder):
    """A model whose positions all turn with the 25th token."""
    zoo.build(
        "phi3",
        "causal",
        folder,
        rope_parameters=LONGROPE,
        original_max_position_embeddings=24,
        eos_token_id=None,
    )
    return source_of("phi3", "causal", folder)


def log_probs(model, tokens):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].log_softmax(-1)


@pytest.mark.parametrize("n_words", [10, 30])  # before and behind where all positions turn
def test_options_are_read_with_the_positions_of_their_own_length(n_words, tmp_path):
    source = turning(tmp_path)
    model, tokenizer = source.load(), source.load_tokenizer()
    context = " ".join(["the", "cat", "sat", "on", "a", "mat", "and", "dog"] * 4).split()[:n_words]
    options = ("good", " ".join(["bad"] * 20), "a long story")
    questions = [Question(f"q{i}", " ".join([*context, w]), options, 0) for i, w in enumerate(("is", "was"))]
    scored = score(model, tokenizer, source, ChoiceRequest("sum", "{question}"), questions)
    plain = plain_model(source)
    for question, row in zip(questions, scored.logits, strict=True):
        n_context = len(tokenizer(question.text)["input_ids"])
        for option, found in zip(options, row, strict=True):
            ids = tokenizer(f"{question.text} {option}")["input_ids"]
            said = log_probs(plain, ids[:-1])
            own = sum(float(said[at - 1, ids[at]]) for at in range(n_context, len(ids)))
            assert found == pytest.approx(own, abs=1e-3)


def test_an_answer_that_outgrows_its_prompts_positions_is_written_with_new_ones(tmp_path):
    source = turning(tmp_path)
    model, tokenizer = source.load(), source.load_tokenizer()
    prompt = " ".join(["the", "cat", "sat", "on", "a", "mat", "and", "dog"] * 3)[:70]
    made = generate(
        model,
        tokenizer,
        source,
        GenerationRequest("{question}", max_new_tokens=12),
        [OpenQuestion("a", prompt, ("x",))],
    )
    plain, ids, total = plain_model(source), tokenizer(prompt)["input_ids"], 0.0
    assert len(ids) < 24 < len(ids) + 12
    for _ in range(12):
        said = log_probs(plain, ids)[-1]
        ids.append(int(said.argmax()))
        total += float(said.max())
    assert made.predictions.confidences[0] == pytest.approx(np.exp(total / 12), abs=1e-5)


@pytest.mark.parametrize(
    ("model_type", "closed"), [("bert", "<s> $A </s>"), ("xlnet", "$A </s> <s>"), ("llama", "<s> $A")]
)
def test_a_text_too_long_for_a_head_is_cut_as_its_tokenizer_cuts_it(model_type, closed, tmp_path):
    from tokenizers import processors

    source = ModelSource(
        "m", "sequence-classification", str(zoo.build(model_type, "head", tmp_path)), max_length=12
    )
    tokenizer = source.load_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=closed, pair="$A $B", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    scored = score(source.load(), tokenizer, source, HEAD, UNLIKE)
    assert scored.n_truncated > 2
    expected = one_by_one(source, tokenizer, HEAD, UNLIKE, truncation=True, max_length=12)
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)


def test_positions_that_depend_on_the_texts_before_are_refused(tmp_path):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    zoo.build("llama", "causal", tmp_path, rope_parameters=rope, max_position_embeddings=24)
    source = source_of("llama", "causal", tmp_path)
    with pytest.raises(InputError, match="has places for 24 tokens"):
        score(source.load(), source.load_tokenizer(), source, LABEL_WORDS, UNLIKE)


def test_attention_that_depends_on_the_texts_before_is_refused(tmp_path):
    zoo.build("big_bird", "head", tmp_path, block_size=4, num_random_blocks=1)
    source = source_of("big_bird", "head", tmp_path)
    model, tokenizer = source.load(), source.load_tokenizer()
    with pytest.raises(InputError, match=r"blocks of a text of more than 28 tokens, .*original_full"):
        score(model, tokenizer, source, HEAD, UNLIKE)
    assert score(model, tokenizer, source, HEAD, ALIKE).n_asked == 1


def test_a_text_without_a_token_is_named(tmp_path):
    source = source_of("llama", "causal", zoo.build("llama", "causal", tmp_path))
    tokenizer = source.load_tokenizer()
    empty = LABEL_WORDS.__class__("label-words", "{text}", LABEL_WORDS.label_words)
    with pytest.raises(InputError, match="item 'b' has no text"):
        score(source.load(), tokenizer, source, empty, [*ALIKE, Item("b", "", 0)])
