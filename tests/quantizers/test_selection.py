import pytest
import torch
import transformers

from calbench.adaptation._lora import target_layers
from calbench.errors import InputError, QuantizationError
from calbench.quantizers import get
from calbench.quantizers._selection import blocks, linears, select


def test_only_layers_inside_the_blocks_are_quantized(source):
    model = source.load()
    chosen = select(model)
    stack = blocks(model)
    assert len(stack) == 3
    assert chosen
    assert all(any(name.startswith(block + ".") for block in stack) for name in chosen)
    assert set(linears(model)) - set(chosen) <= {"lm_head", "classifier", "bert.pooler.dense"}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("encoder.layer.0", 12),  # a run of components inside the name, not a prefix
        ("bert.encoder.layer.0", 12),
        ("key", 15),
        ("attention.self", 9),
        ("*.intermediate.*", 15),
        ("first:1", 12),
        ("last:2", 6),
        ("classifier", 18),  # never quantized anyway, but the layer exists
    ],
)
def test_skip_patterns_take_layers_away(encoder, pattern, left):
    assert len(select(encoder.load(), skip=(pattern,))) == left


def test_digits_match_whole_components_only(encoder):
    assert select(encoder.load(), skip=("layer.1",)) == tuple(
        name for name in select(encoder.load()) if ".layer.1." not in name
    )


def test_include_adds_heads_and_skip_wins(encoder):
    model = encoder.load()
    assert "classifier" in select(model, include=("classifier",))
    assert "classifier" not in select(model, include=("classifier",), skip=("classifier",))


@pytest.mark.parametrize("argument", ["skip", "include"])
def test_a_pattern_that_matches_nothing_is_an_error(encoder, argument):
    with pytest.raises(InputError, match="did you mean 'classifier'"):
        select(encoder.load(), **{argument: ("clasifier",)})


@pytest.mark.parametrize("pattern", ["first:x", "middle:1", "last:0"])
def test_unreadable_block_patterns_are_refused(encoder, pattern):
    with pytest.raises(InputError, match="first:N or last:N"):
        select(encoder.load(), skip=(pattern,))


def test_a_tied_output_layer_cannot_be_included(decoder):
    with pytest.raises(QuantizationError, match="lm_head shares its weights"):
        select(decoder.load(), include=("lm_head",))


def test_skipping_everything_is_refused(decoder):
    with pytest.raises(QuantizationError, match="no linear layer"):
        select(decoder.load(), skip=("first:3",))


@pytest.fixture(scope="module")
def mixture():
    """A model whose experts are one three-dimensional parameter per layer."""
    config = transformers.MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        num_local_experts=8,
    )
    with torch.device("meta"):
        return transformers.MixtralForCausalLM(config)


def test_experts_that_are_no_linear_layers_are_not_left_out_in_silence(mixture):
    with pytest.raises(
        QuantizationError, match=r"9\d% of the weights .*layers\.0\.mlp\.experts\.gate_up_proj.*bf16"
    ):
        select(mixture)


@pytest.mark.parametrize("name", ["bnb-int8", "gptq-int4[int8=first:1]", "hqq-int4"])
def test_every_backend_refuses_to_leave_the_experts_out(name, mixture):
    with pytest.raises(QuantizationError, match="no linear layer"):
        get(name).targets(mixture)


def test_a_cast_and_an_adapter_take_a_model_with_such_experts(mixture):
    assert get("bf16").targets(mixture)
    assert len(target_layers(mixture)) == 8


def test_leaving_most_layers_out_on_purpose_stays_possible(decoder):
    assert select(decoder.load(), skip=("mlp", "first:2")) == tuple(
        f"model.layers.2.self_attn.{part}_proj" for part in "qkvo"
    )
