"""GPTQ reads what the model's own layers read, and a proof covers what it says."""

from __future__ import annotations

import pytest
import torch

from calbench.errors import QuantizationError
from calbench.quantizers import QuantizationSamples, get, quantize
from calbench.quantizers.gptq import _driver as driver
from tests.architectures import zoo
from tests.architectures.examination import source_of


def samples_of(source, n=8):
    texts = zoo.texts(n, shortest=5, longest=25, seed=77)
    return QuantizationSamples.from_texts(source.load_tokenizer(), texts, max_length=99)


def built(model_type, kind, folder, **given):
    return source_of(model_type, kind, zoo.build(model_type, kind, folder, **given)).resolve()


@pytest.mark.parametrize(
    ("model_type", "kind"),
    [("bart", "head"), ("mbart", "head"), ("bert", "head"), ("llama", "causal"), ("albert", "head")],
)
def test_gptq_reads_what_the_models_own_layers_read(model_type, kind, tmp_path, monkeypatch):
    source = built(model_type, kind, tmp_path)
    model = source.load()
    # Nothing is rounded, so that each layer's inputs stay the float model's.
    monkeypatch.setattr(driver, "_replace", lambda _, hessian, __: seen.append(hessian))
    seen = []
    quantizer = get("gptq-int4[n_samples=8]")
    layers = quantizer.targets(model)
    settings = driver.Settings(dict.fromkeys(layers, 4), 64, True, True, 0.01)
    expected = dict.fromkeys(layers, 0.0)
    n_tokens = dict.fromkeys(layers, 0)

    def count(name):
        def hook(_, inputs):
            rows = inputs[0].reshape(-1, inputs[0].shape[-1])
            expected[name] = expected[name] + rows.T @ rows
            n_tokens[name] += len(rows)

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(count(name)) for name in layers]
    with torch.inference_mode():
        for row in samples_of(source).token_ids:  # alone: there is no padding to leave out
            model(input_ids=torch.tensor([row]))
    for handle in handles:
        handle.remove()
    driver.quantize_model(model, samples_of(source), settings)
    found = {name: hessian.mean() for hessian in seen for name in hessian.layers}
    assert set(found) == set(layers)
    for name in layers:
        own = expected[name] / n_tokens[name]
        assert float((found[name] - own).norm() / own.norm()) < 1e-3, name


def test_a_model_of_convolutions_is_refused_where_little_of_it_would_be_quantized(tmp_path):
    source = built("squeezebert", "head", tmp_path)
    with pytest.raises(QuantizationError, match=r"of the weights of .* are in no linear layer"):
        quantize(get("bnb-nf4"), source, probe=samples_of(source, 2).token_ids)


# What used to end in a traceback: the whole model is run where its blocks cannot be called alone.
@pytest.mark.parametrize("model_type", ["deberta-v2", "xlnet", "t5", "fnet", "rembert"])
def test_gptq_quantizes_heads_whose_blocks_cannot_be_called_alone(model_type, tmp_path):
    source = built(model_type, "head", tmp_path)
    proof = quantize(
        get("gptq-int8[n_samples=8,group_size=-1]"),
        source,
        samples=samples_of(source),
        probe=samples_of(source, 2).token_ids,
    ).report.proof
    assert proof.coverage > 0.6
    assert proof.max_weight_error < 0.05


def test_what_t5_keeps_in_float32_does_not_forbid_fp16(tmp_path):
    source = built("t5", "head", tmp_path)
    report = quantize(get("fp16"), source, probe=samples_of(source, 2).token_ids).report
    assert not any(name.endswith(".wo") for name in report.modules)
    assert report.proof.coverage < 1


def test_the_vision_tower_is_neither_quantized_nor_counted(tmp_path):
    source = built("gemma3", "causal", tmp_path)
    report = quantize(get("hqq-int4[group_size=16]"), source, probe=samples_of(source, 2).token_ids).report
    assert report.modules
    assert not any("vision" in name for name in report.modules)
    assert report.proof.coverage == 1
