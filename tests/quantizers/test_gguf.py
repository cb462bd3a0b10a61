"""GGUF's block formats, against gguf-py's decoder, and llama.cpp's rules of which layer gets which."""

import pytest

pytest.importorskip("libgguf", reason="gguf quantizers need libgguf")

import gguf
import libgguf
import torch
from transformers import BertConfig, BertForSequenceClassification

from calbench.errors import BackendUnavailableError, InputError, QuantizationError
from calbench.models import ModelSource
from calbench.quantizers import get, quantize
from calbench.quantizers._gguf import encoded
from calbench.quantizers._gguf_types import IDS, fitting, half_step
from calbench.quantizers._tiny import WIDE, write_tiny
from calbench.testing import check_quantizer

K_TYPES = ("gguf-q6_k", "gguf-q5_k", "gguf-q4_k", "gguf-iq4_xs", "gguf-q3_k", "gguf-q2_k")
TYPES = {name: type_name for name, type_name in IDS.items() if not name.endswith("_m")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An encoder with rows of 256 that has learnt to tell texts by their first word."""
    folder = tmp_path_factory.mktemp("trained")
    config = BertConfig(
        vocab_size=96, hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(1)
        for _ in range(60):
            ids = torch.randint(1, 96, (32, 8), generator=generator)
            loss = model(input_ids=ids, labels=ids[:, 0] % 2).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    assert loss.item() < 0.2
    return ModelSource("trained", "sequence-classification", str(folder))


def a_layer(width, *, rows=48):
    layer = torch.nn.Linear(width, rows)
    torch.nn.init.normal_(layer.weight, std=0.05, generator=torch.Generator().manual_seed(3))
    return layer


@pytest.mark.parametrize("type_name", [*TYPES.values(), "Q5_0", "Q5_1"])
def test_weights_are_those_that_gguf_py_decodes_from_the_bytes_that_llama_cpp_writes(type_name):
    layer = a_layer(512)
    found = encoded(layer, type_name)
    kind = gguf.GGMLQuantizationType[type_name]
    blocks = libgguf.quantize_rows(layer.weight.detach().numpy(), kind)
    assert (found.blocks.numpy() == blocks).all()
    assert torch.equal(found.dequantize(), torch.from_numpy(gguf.quants.dequantize(blocks, kind)))


@pytest.mark.parametrize("type_name", ["Q8_0", "Q4_0", "MXFP4", "NVFP4", "Q5_0", "Q5_1"])
def test_weights_on_the_grid_are_encoded_to_the_same_bytes_again(type_name):
    first = encoded(a_layer(512), type_name)
    again = a_layer(512)
    with torch.no_grad():
        again.weight.copy_(first.dequantize())
    assert torch.equal(encoded(again, type_name).blocks, first.blocks)


@pytest.mark.parametrize("name", ["gguf-q8_0", "gguf-nvfp4", "gguf-q4_k[fallback=allow]"])
def test_block_formats_keep_the_rules(name):
    check_quantizer(name)


@pytest.mark.parametrize("name", ["gguf-q4_k_m", "gguf-q2_k"])
def test_k_types_keep_the_rules_on_rows_of_256(name):
    check_quantizer(name, width=WIDE, architectures=("causal-lm",))


def test_on_a_trained_model_fewer_bits_change_more(trained, probe):
    reports = {name: quantize(get(name), trained, probe=probe).report for name in ("gguf-q8_0", *K_TYPES)}
    kl = {name: report.proof.kl_divergence for name, report in reports.items()}
    assert list(kl) == sorted(kl, key=kl.get)
    bits = [reports[name].effective_bits for name in ("gguf-q8_0", *K_TYPES)]
    assert bits == pytest.approx([8.5, 6.5625, 5.5, 4.5, 4.25, 3.4375, 2.625])


@pytest.mark.parametrize("name", [*K_TYPES, "gguf-q4_k_m"])
def test_a_type_that_most_layers_cannot_have_is_refused_unless_it_is_allowed_to_fall_back(name, encoder):
    with pytest.raises(InputError, match=r"18 of 18 layers.*fallback=allow"):
        get(name).targets(encoder.skeleton())


def test_the_report_says_which_type_each_layer_fell_back_to(encoder, probe):
    report = quantize(get("gguf-q4_k[fallback=allow]"), encoder, probe=probe).report
    assert set(report.modules.values()) == {"gguf-q5_0"}


@pytest.mark.parametrize(
    ("type_name", "width", "expected"),
    [
        ("Q4_K", 576, "Q5_0"),
        ("Q5_K", 576, "Q5_1"),
        ("Q6_K", 576, "Q8_0"),
        ("Q3_K", 576, "IQ4_NL"),
        ("Q2_K", 576, "IQ4_NL"),
        ("IQ4_XS", 576, "IQ4_NL"),
        ("Q6_K", 72, "F16"),
        ("Q6_K", 1536, "Q6_K"),
    ],
)
def test_rows_fall_back_as_in_llama_cpp(type_name, width, expected):
    assert fitting(type_name, width) == expected


def test_a_type_without_a_replacement_is_refused():
    with pytest.raises(InputError, match="Q8_0 stores blocks of 32 weights, which do not divide rows of 72"):
        fitting("Q8_0", 72)


def test_a_layer_may_fall_back_to_float16():
    layer = a_layer(72)
    assert torch.equal(encoded(layer, "F16").dequantize(), layer.weight.detach().half().float())


@pytest.mark.parametrize(("name", "base"), [("gguf-q4_k_m", "Q4_K"), ("gguf-q5_k_m", "Q5_K")])
def test_recipes_give_values_and_down_projections_more_bits_in_llama_cpps_blocks(name, base, tmp_path):
    source = write_tiny("causal-lm", tmp_path, width=WIDE)
    plan = get(name).plan(source.skeleton())
    # Of two blocks llama.cpp's rule takes the second: 7 * 2 // 8 is 1.
    assert {layer for layer, type_name in plan.items() if type_name == "Q6_K"} == {
        "model.layers.1.self_attn.v_proj",
        "model.layers.1.mlp.down_proj",
    }
    assert set(plan.values()) == {base, "Q6_K"}


def test_recipes_know_the_parts_of_an_encoder(tmp_path):
    source = write_tiny("sequence-classification", tmp_path, width=WIDE)
    plan = get("gguf-q4_k_m").plan(source.skeleton())
    block = "bert.encoder.layer.1"
    assert [plan[f"{block}.{part}"] for part in ("attention.self.value", "output.dense")] == ["Q6_K"] * 2
    assert plan[f"{block}.attention.output.dense"] == "Q4_K"


@pytest.mark.parametrize("name", TYPES)
def test_epsilon_bounds_a_weights_error_up_to_the_rounding_of_scales(name):
    layer = a_layer(512)
    weight = layer.weight.detach()
    error = (encoded(layer, TYPES[name]).dequantize() - weight).abs().reshape(-1, 32)
    relative = error.amax(dim=1) / weight.abs().reshape(-1, 32).amax(dim=1)
    # The end of a grid that is not symmetric, and scales that are rounded, cost up to a half-step more.
    assert 0.2 * half_step(TYPES[name]) < float(relative.median())
    assert float(relative.max()) < 2.2 * half_step(TYPES[name])


def test_blocks_that_two_decoders_read_differently_are_no_proof(encoder, probe, monkeypatch):
    monkeypatch.setattr(
        "calbench.quantizers._gguf_layer.GgufLinear.decoded_by_gguf_py",
        lambda self: self.dequantize() * 1.01,
    )
    with pytest.raises(QuantizationError, match="decode the same Q8_0 blocks differently"):
        quantize(get("gguf-q8_0"), encoder, probe=probe)


def test_without_libgguf_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("calbench.quantizers._availability.find_spec", lambda name: name != "libgguf" or None)
    with pytest.raises(BackendUnavailableError, match=r"gguf-q8_0 needs libgguf.*calbench\[gguf\]"):
        get("gguf-q8_0").check_available()


def test_the_doctor_tries_k_types_on_rows_that_fit():
    from calbench.quantizers import diagnose

    (found,) = diagnose(["gguf-q4_k"])
    assert (found.status, found.reason) == ("works", "")
