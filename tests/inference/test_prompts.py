"""What a causal model is shown: one BOS, which a cut leaves, and no more tokens than it has places for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.inference import generate, score
from calbench.models import ModelSource
from calbench.tasks import (
    ChoiceRequest,
    ClassificationRequest,
    GenerationRequest,
    Item,
    OpenQuestion,
    Question,
)
from tests.tiny_models import write_decoder

BOS = "<s>"
WORDS = ClassificationRequest("label-words", "{text} Sentiment:", ("negative", "positive"))
OPEN = GenerationRequest("{question} Sentiment:", max_new_tokens=3)
CHOICE = ChoiceRequest("sum", "{question} Sentiment:")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    from tokenizers import processors

    folder = write_decoder(tmp_path_factory.mktemp("bos") / "decoder", more_words=(BOS,))
    source = ModelSource("d", "causal-lm", str(folder), max_length=120)
    tokenizer = source.load_tokenizer()
    tokenizer.bos_token = BOS
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.convert_tokens_to_ids(BOS))]
    )
    return source.load(), tokenizer, source


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A decoder whose tokenizer has no ``bos``, and puts two tokens before each text, as GLM's does."""
    from tokenizers import processors

    names = ("[MASK]", "<sop>")
    folder = write_decoder(tmp_path_factory.mktemp("opened") / "decoder", more_words=names)
    source = ModelSource("d", "causal-lm", str(folder), max_length=120)
    tokenizer = source.load_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(names)})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[MASK] <sop> $A",
        pair="$A $B",
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in names],
    )
    return source.load(), tokenizer, source


def text(n_words):
    return " ".join(f"w{7 * n % 60}" for n in range(n_words))


def answers(decoder, way, shown):
    """What the model says of a text, asked in one of the ways."""
    if way == "classification":
        return score(*decoder, WORDS, [Item("a", shown, 0)]).logits
    if way == "choices":
        return score(*decoder, CHOICE, [Question("a", shown, ("yes", "no"), 0)]).logits
    made = generate(*decoder, OPEN, [OpenQuestion("a", shown, ("w1",))])
    return made.predictions.confidences


WAYS = ("classification", "choices", "generation")


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_that_spells_its_bos_is_asked_with_one(way, decoder):
    spelled = answers(decoder, way, f"{BOS} {text(6)}")
    np.testing.assert_allclose(spelled, answers(decoder, way, text(6)), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_that_spells_all_that_its_tokenizer_puts_before_a_text_is_asked_with_it_once(way, opened):
    spelled = answers(opened, way, f"[MASK]<sop> {text(6)}")
    np.testing.assert_allclose(spelled, answers(opened, way, text(6)), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opens", [1, 2])
def test_a_prompt_that_is_cut_keeps_its_bos(way, opens, request):
    decoder = request.getfixturevalue("decoder" if opens == 1 else "opened")
    model, tokenizer, source = decoder
    room = opens + len(["w1", "w2", "w3", "w4", "w5", "w6", "Sentiment:"])
    room += OPEN.max_new_tokens if way == "generation" else 0
    short = dataclasses.replace(source, max_length=room)
    cut = answers((model, tokenizer, short), way, text(40))
    end = " ".join(text(40).split()[-6:])
    np.testing.assert_allclose(cut, answers(decoder, way, end), atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_longer_than_rotary_positions_were_trained_for_is_refused(way, decoder):
    longer = (*decoder[:2], dataclasses.replace(decoder[2], max_length=512))
    with pytest.raises(InputError, match=r"places for 128 tokens, and an input takes 1\d\d; declare"):
        answers(longer, way, text(140))
