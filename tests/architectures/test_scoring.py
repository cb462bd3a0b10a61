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
LOOKS_AHEAD = ("bert-generation", "bert", "xlnet", "xlm", "cpmant")
# All that is refused of what can be built; what transformers saves of the last two it cannot load itself.
REFUSED = {
    "causal": dict.fromkeys(LOOKS_AHEAD[2:], "no causal language model")
    | dict.fromkeys(("emu3", "mllama"), "Unrecognized configuration class"),
    "head": {},
}
# What cannot be built at such sizes without packages for pictures, or does not read text alone.
ABSENT = {
    "causal": {"blt", "dots3_note", "gemma3n", "gemma4_assistant", "gemma4_unified_assistant"}
    | {"musicgen", "musicgen_melody"},
    "head": {"layoutlmv2", "t5gemma2"},
}


def fault(found):
    """What keeps a type from being exact, or refused or absent as said above."""
    if found.absent:
        return "" if found.model_type in ABSENT[found.kind] else found.absent
    if found.refusals:
        reason = REFUSED[found.kind].get(found.model_type, "no reason is known")
        return "" if all(reason in said for said in found.refusals.values()) else str(found.refusals)
    return str(found.wrong or "" if found.differences else "it was not asked")


def check(kind, model_type):
    found = examine(model_type, kind)
    assert found.differences
    assert not fault(found)


@pytest.mark.parametrize("model_type", CAUSAL)
def test_a_causal_model_answers_as_it_does_alone(model_type):
    check("causal", model_type)


@pytest.mark.parametrize("model_type", HEADS)
def test_a_head_answers_as_it_does_alone(model_type):
    check("head", model_type)


@pytest.mark.parametrize("model_type", LOOKS_AHEAD)
def test_a_model_that_looks_ahead_is_refused_as_a_causal_one(model_type):
    as_an_encoder = {"is_decoder": False} if "bert" in model_type else {}
    found = examine(model_type, "causal", **as_an_encoder)
    assert not found.differences
    assert all("no causal language model" in reason for reason in found.refusals.values())
    assert found.refusals


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["causal", "head"])
def test_every_type_of_transformers_is_exact_or_refused_or_absent_for_a_known_reason(kind):
    faults = {name: said for name in zoo.types(kind) if (said := fault(examine(name, kind)))}
    assert not faults
