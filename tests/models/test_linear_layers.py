"""A model's matrices become linear layers, and nothing that it says changes."""

from __future__ import annotations

import dataclasses

import pytest

from calbench.errors import InputError
from calbench.quantizers import QuantizationSamples, get, quantize
from tests.architectures import zoo
from tests.architectures.examination import plain_model, source_of

TYPES = ("gpt2", "mixtral", "gpt_oss", "falcon")


@pytest.fixture(scope="module", params=TYPES)
def source(request, tmp_path_factory):
    folder = zoo.build(request.param, "causal", tmp_path_factory.mktemp(request.param))
    return source_of(request.param, "causal", folder).resolve()


def logits(model):
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 27).reshape(2, 12), use_cache=False).logits


def test_a_model_of_linear_layers_says_what_its_architecture_says(source):
    import torch

    torch.testing.assert_close(logits(source.load()), logits(plain_model(source)), atol=1e-5, rtol=0)


def test_what_is_saved_is_the_architectures_own(source, tmp_path):
    import torch

    source.load().save_pretrained(tmp_path)
    again = dataclasses.replace(source, location=str(tmp_path))
    torch.testing.assert_close(logits(plain_model(again)), logits(plain_model(source)), atol=0, rtol=0)


@pytest.mark.parametrize("quantizer", ["bnb-int8", "bnb-nf4", "hqq-int4", "gptq-int4[n_samples=8]"])
def test_all_its_matrices_are_quantized_and_proven(source, quantizer):
    tokenizer = source.load_tokenizer()
    samples = QuantizationSamples.from_texts(
        tokenizer, zoo.texts(8, shortest=5, longest=20, seed=1), max_length=99
    )
    probe = samples.take(2).token_ids
    report = quantize(get(quantizer), source, samples=samples, probe=probe).report
    assert report.proof.coverage > 0.98  # a router of experts is a table of its own
    assert report.proof.max_weight_error < 0.25


def broken(tmp_path, change, **configured):
    """A tiny Llama whose files were changed."""
    import json

    from safetensors.torch import load_file, save_file

    folder = zoo.build("llama", "causal", tmp_path)
    weights = folder / "model.safetensors"
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | configured
    (folder / "config.json").write_text(json.dumps(config))
    return source_of("llama", "causal", folder)


def in_fp8(weights):
    import torch

    scaled = {k: v / 1e-3 for k, v in weights.items() if k.endswith("proj.weight")}
    scales = {f"{k}_scale": torch.tensor(1e-3) for k in scaled}
    return weights | {k: v.clamp(-448, 448).to(torch.float8_e4m3fn) for k, v in scaled.items()} | scales


def test_codes_are_no_reference_whatever_the_configuration_leaves_out(tmp_path):
    source = broken(tmp_path, in_fp8)
    (tmp_path / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    with pytest.raises(InputError, match="codes or scales of quantized weights"):
        source.resolve()


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_weights_that_are_integers_are_codes(width, tmp_path):
    import torch

    name = "model.layers.0.mlp.up_proj.weight"
    kind = getattr(torch, f"int{width}")
    source = broken(tmp_path, lambda weights: weights | {name: (100 * weights[name]).to(kind)})
    with pytest.raises(InputError, match=rf"codes or scales .*up_proj\.weight \(I{width}\)"):
        source.resolve()


def test_an_adapter_that_was_not_merged_is_not_left_out(tmp_path):
    import torch

    adapter = {"model.layers.0.mlp.up_proj.lora_A.default.weight": torch.ones(2, 64)}
    source = broken(tmp_path, lambda weights: weights | adapter)
    with pytest.raises(InputError, match=r"leaves no place for: .*lora_A"):
        source.resolve().load()


def test_more_blocks_than_the_configuration_says_are_refused(tmp_path):
    source = broken(tmp_path, dict, num_hidden_layers=1)
    with pytest.raises(InputError, match=r"holds 9 weights that its config\.json leaves no place for"):
        source.resolve().load()


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_a_head_whose_outputs_are_no_classes_is_refused(kind, tmp_path):
    folder = zoo.build("bert", "head", tmp_path, problem_type=kind)
    with pytest.raises(InputError, match=f"its head is made for {kind.replace('_', ' ')}"):
        source_of("bert", "head", folder).resolve().load()
