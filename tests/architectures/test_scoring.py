"""Every architecture answers as transformers does to each text alone, or is refused with a reason."""

from __future__ import annotations

import pytest

from tests.architectures import zoo
from tests.architectures.examination import examine

# A model of each way in which architectures differ: what is asked of these takes a minute.
CAUSAL = (
    "bloom",  # ALiBi
    "gemma2",  # soft caps, two kinds of layers
    "gpt2",  # Conv1D, learned positions
    "llama",
    "llama4",  # no body of its own
    "mamba",  # recurrent
    "minimax",  # a cache of its own
    "mixtral",  # experts in one tensor
    "modernbert-decoder",  # a head that does more
    "opt",
    "prophetnet",  # depends on a text's length
    "xlstm",  # soft caps under another name
)
HEADS = (
    "bert",
    "bart",  # reads its end token
    "canine",  # no table of embeddings
    "convbert",  # convolutions over padding
    "deberta-v2",
    "fnet",  # no mask
    "llama",  # reads its last token
    "mobilebert",
    "nystromformer",
    "xlnet",  # pads on the left, segments
    "yoso",
)
# Asked for what they are not.
REFUSED = {
    ("bert-generation", "causal"): "no causal language model",
    ("bert", "causal"): "no causal language model",
    ("xlnet", "causal"): "no causal language model",
    ("xlm", "causal"): "no causal language model",
}


def check(kind, model_type):
    found = examine(model_type, kind)
    assert not found.absent
    expected = REFUSED.get((model_type, kind), "")
    assert not found.wrong
    assert all(expected and expected in reason for reason in found.refusals.values()), found.refusals
    assert found.differences or found.refusals


@pytest.mark.parametrize("model_type", CAUSAL)
def test_a_causal_model_answers_as_it_does_alone(model_type):
    check("causal", model_type)


@pytest.mark.parametrize("model_type", HEADS)
def test_a_head_answers_as_it_does_alone(model_type):
    check("head", model_type)


@pytest.mark.parametrize("model_type", [name for name, kind in REFUSED if kind == "causal"])
def test_a_model_that_looks_ahead_is_refused_as_a_causal_one(model_type):
    as_an_encoder = {"is_decoder": False} if "bert" in model_type else {}
    found = examine(model_type, "causal", **as_an_encoder)
    assert not found.differences
    assert all("no causal language model" in reason for reason in found.refusals.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["causal", "head"])
def test_no_type_of_transformers_answers_otherwise_than_it_does_alone(kind):
    wrong = {name: found.wrong for name in zoo.types(kind) if (found := examine(name, kind)).wrong}
    assert not wrong
