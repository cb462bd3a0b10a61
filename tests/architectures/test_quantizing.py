"""GPTQ reads what the model's own layers read, and a proof covers what it says."""

from __future__ import annotations

import math
import re

import pytest
import torch
from safetensors import safe_open

from calbench.errors import QuantizationError
from calbench.quantizers import QuantizationSamples, get, quantize
from calbench.quantizers.gptq import _driver as driver
from tests.architectures import zoo
from tests.architectures.examination import source_of

# Embeddings, heads and tables that are no weights, as architectures name them: a tensor's own module or, of
# heads, any part of its name. Some put a matrix behind an embedding and name it after that.
TABLE = re.compile(
    r"^(?!embedding_(hidden_mapping|transformation)).*[eE]mb|^(wte|wpe|w|shared|head)$|_decay$|^slope_rate$"
)
HEAD = re.compile(r"^(lm_head|(pre_)?classifier|score|classification_head|logits_proj|pred_layer)$")


def is_apart(name):
    *parts, last = name.split(".")
    own = parts[-1] if last in ("weight", "bias") else last
    return bool(TABLE.search(own)) or any(map(HEAD.search, parts))


def samples_of(source, n=8):
    texts = zoo.texts(n, shortest=5, longest=25, seed=77)
    return QuantizationSamples.from_texts(source.load_tokenizer(), texts, max_length=99)


def built(model_type, kind, folder, **given):
    return source_of(model_type, kind, zoo.build(model_type, kind, folder, **given)).resolve()


# One way in which architectures differ each; the slow test asks the others.
SHORT = [
    ("bart", "head"),
    ("mbart", "head"),
    ("bert", "head"),
    ("llama", "causal"),
    ("albert", "head"),
    ("convbert", "head"),  # does not heed the mask
    ("mixtral", "head"),  # tokens reach experts in another order
    ("jamba", "head"),  # multiplies by a weight itself
]
HEADS = """
big_bird bigbird_pegasus biogpt bloom camembert canine ctrl data2vec-text deberta deberta-v2
distilbert electra ernie esm falcon flaubert fnet gemma gemma2 gemma3_text glm gpt2 gpt_bigcode gpt_neo
gpt_neox gptj helium longformer megatron-bert minimax mistral mobilebert modernbert
mpt mra mt5 nemotron
nystromformer opt persimmon phi phi3 plbart qwen2 qwen2_moe qwen3 qwen3_moe rembert roberta roformer smollm3
stablelm starcoder2 t5 umt5 xlm xlm-roberta xlnet xmod yoso
""".split()  # noqa: SIM905 (as a list it takes 70 lines)
CAUSAL = """
bamba codegen cohere deepseek_v3 falcon_mamba gpt_oss granite granitemoe jetmoe llama4_text mamba mamba2 olmo
recurrent_gemma rwkv
""".split()  # noqa: SIM905
ALL = [*SHORT, *((name, "head") for name in HEADS), *((name, "causal") for name in CAUSAL)]
QUANTIZERS = (
    "gptq-int4[group_size=16,n_samples=8]",
    "awq-int4[group_size=16,n_samples=8]",
    "hqq-int4[group_size=16]",
    "bnb-nf4",
)


@pytest.mark.parametrize(("model_type", "kind"), SHORT)
def test_gptq_reads_what_the_models_own_layers_read(model_type, kind, tmp_path, monkeypatch):
    check_inputs(built(model_type, kind, tmp_path), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "kind"), ALL)
def test_gptq_reads_what_every_models_own_layers_read(model_type, kind, tmp_path, monkeypatch):
    check_inputs(built(model_type, kind, tmp_path), monkeypatch)


def check_inputs(source, monkeypatch):
    model = source.load()
    # Nothing is rounded, so that each layer's inputs stay the float model's.
    monkeypatch.setattr(driver, "_replace", lambda _, hessian, __: seen.append(hessian))
    seen = []
    quantizer = get("gptq-int4[n_samples=8,group_size=-1]")
    layers = quantizer.targets(model)
    settings = driver.Settings(dict.fromkeys(layers, 4), -1, True, True, 0.01)
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
        own = expected[name] / max(1, n_tokens[name])
        assert float((found[name] - own).norm() / max(1e-9, own.norm())) < 1e-3, name


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize(("model_type", "kind"), [("bert", "head"), ("qwen3_moe", "head")])
def test_the_proofs_coverage_is_what_a_count_of_bytes_gives(model_type, kind, quantizer, tmp_path):
    check_coverage(built(model_type, kind, tmp_path), quantizer)


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize(("model_type", "kind"), ALL)
def test_the_proofs_coverage_of_every_type_is_what_a_count_of_bytes_gives(
    model_type, kind, quantizer, tmp_path
):
    check_coverage(built(model_type, kind, tmp_path), quantizer)


def check_coverage(source, quantizer):
    """What the float file holds and the quantized model no longer does, of all but embeddings and heads."""
    samples = samples_of(source)
    made = quantize(get(quantizer), source, samples=samples, probe=samples.token_ids[:2])
    with safe_open(source.folder / "model.safetensors", "pt") as file:
        sizes = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        matrices = {
            name: 4 * size
            for name, size in sizes.items()
            if len(file.get_slice(name).get_shape()) > 1 and not is_apart(name)
        }
    left = {name for name, tensor in made.module.state_dict().items() if tensor.dtype == torch.float32}
    kept = sum(size for name, size in matrices.items() if name in left)
    counted = 1 - kept / sum(matrices.values())
    assert made.report.proof.coverage == pytest.approx(counted, abs=0.01)


@pytest.mark.parametrize("model_type", ["squeezebert", "ibert"])  # convolutions; layers of its own
def test_a_model_of_other_layers_is_refused_where_little_of_it_would_be_quantized(model_type, tmp_path):
    source = built(model_type, "head", tmp_path)
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
