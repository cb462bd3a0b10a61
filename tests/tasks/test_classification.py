"""How a task is asked of each kind of model."""

from __future__ import annotations

import dataclasses

import pytest

from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.tasks import Item, SequenceClassification

ENCODER = ModelSource("e", "sequence-classification", "nowhere", classes=("positive", "negative"))
DECODER = ModelSource("d", "causal-lm", "nowhere")
TASK = SequenceClassification(
    "t",
    ("negative", "positive"),
    lambda: [Item("a", "fine {text}", 1)],
    prompt="Text: {text}\nSentiment:",
    label_words=(" negative", " positive"),
)


def test_a_head_is_read_in_the_tasks_order():
    assert TASK.request(ENCODER).columns == (1, 0)


def test_a_head_with_other_classes_is_refused():
    other = dataclasses.replace(ENCODER, classes=("LABEL_0", "LABEL_1"))
    with pytest.raises(InputError, match=r"LABEL_0, LABEL_1.*negative, positive"):
        TASK.request(other)


def test_braces_in_a_text_are_left_alone():
    assert TASK.request(DECODER).text(Item("a", "fine {text}", 1)) == "Text: fine {text}\nSentiment:"


def test_a_decoder_needs_a_prompt():
    with pytest.raises(InputError, match="prompt"):
        dataclasses.replace(TASK, prompt=None, label_words=()).request(DECODER)


def test_what_changes_a_prediction_changes_the_requests_identity():
    base = TASK.request(DECODER).identity()
    assert base != dataclasses.replace(TASK, prompt="{text}:").request(DECODER).identity()
    assert base != dataclasses.replace(TASK, label_words=(" bad", " good")).request(DECODER).identity()
    assert base != TASK.request(ENCODER).identity()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("one",)}, "two or more"),
        ({"prompt": "no place for it"}, r"no \{text\}"),
        ({"label_words": (" bad",)}, "1 label words for 2 classes"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(TASK, **change)


def test_a_decoders_prompt_shows_both_texts_of_a_pair():
    item = Item("a", "one {pair}", 1, pair="two {text}")
    asked = dataclasses.replace(TASK, prompt="{text} / {pair}:").request(DECODER)
    assert asked.text(item) == "one {pair} / two {text}:"
    with pytest.raises(InputError, match=r"'a' is a pair of texts, and the prompt .* has no \{pair\}"):
        TASK.request(DECODER).text(item)
