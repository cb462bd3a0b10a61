"""What a model says of a text does not depend on the texts that it was asked before or together with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calbench.errors import InputError
from calbench.inference import score
from calbench.models import ModelSource
from calbench.tasks import Item
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
