"""Checkpoints that others quantized: bitsandbytes' by transformers, and GPTQ's in AutoGPTQ's format."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from calbench.errors import CorruptRecordError, InputError, QuantizationError
from calbench.models import ModelSource
from calbench.quantizers import get, identity, names, probe_logits, quantize
from calbench.quantizers.gptq._packed import PackedLinear, pack, unpack

KINDS = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "causal-lm": "AutoModelForCausalLM",
}


def saved_by_transformers(source, folder, *, after=lambda model: None, **options):
    skipped = ["classifier", "bert.pooler", "lm_head"]  # a prefix from the root, or it matches nothing
    config = transformers.BitsAndBytesConfig(**options, llm_int8_skip_modules=skipped)
    kind = getattr(transformers, KINDS[source.architecture])
    model = kind.from_pretrained(source.location, quantization_config=config, dtype=torch.float32)
    after(model)
    model.save_pretrained(folder)
    return folder


def saved_by_autogptq(source, samples, folder, *, bits=4):
    """Write a model as AutoGPTQ does: zero points less one, the rest in float16, its own settings file."""
    model = get(f"gptq-int{bits}").build(source, samples=samples, seed=0)
    tensors = {name: parameter.detach().half() for name, parameter in model.named_parameters()}
    for name, layer in model.named_modules():
        if isinstance(layer, PackedLinear):
            zeros = unpack(layer.qzeros.T.contiguous(), bits, layer.out_features).T.long()
            tensors[f"{name}.qzeros"] = pack(((zeros - 1) & ((1 << bits) - 1)).T, bits).T.contiguous()
            tensors |= {f"{name}.{part}": getattr(layer, part) for part in ("qweight", "scales", "g_idx")}
    folder.mkdir()
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "gptq_model.safetensors"
    )
    shutil.copy(source.folder / "config.json", folder)
    settings = {"bits": bits, "group_size": 64, "sym": True, "desc_act": False, "damp_percent": 0.01}
    (folder / "quantize_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def autogptq(encoder, samples, tmp_path):
    return saved_by_autogptq(encoder, samples, tmp_path / "autogptq")


@pytest.mark.parametrize(
    ("options", "same_as"),
    [
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bnb-nf4"),
        (
            {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
            "bnb-fp4[double_quant=true]",
        ),
        ({"load_in_8bit": True, "llm_int8_threshold": 0.0}, "bnb-int8"),
    ],
)
def test_bitsandbytes_checkpoints_equal_what_is_quantized_here(options, same_as, source, probe, tmp_path):
    pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")
    folder = saved_by_transformers(source, tmp_path / "saved", **options)
    found = quantize(get(f"checkpoint[folder={folder}]"), source, probe=probe)
    ours = quantize(get(same_as), source, probe=probe)
    assert found.report.modules == ours.report.modules
    assert found.report.effective_bits == ours.report.effective_bits
    quantizer = get(same_as)
    for name in ours.report.modules:
        assert torch.equal(*(quantizer.dequantize(m.module.get_submodule(name)) for m in (found, ours)))
    # Only the last bit: the float layers lie in memory in another way.
    difference = probe_logits(found.module, probe) - probe_logits(ours.module, probe)
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("double", [False, True])
def test_nf4_saved_after_an_evaluation_is_reloaded_bit_for_bit(double, source, probe, tmp_path):
    """The library's own repacking on the first forward would ruin what is saved after it."""
    pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")
    quantizer = get(f"bnb-nf4[double_quant={str(double).lower()}]")

    def evaluate(model):
        quantizer.settle(model)
        probe_logits(model.eval(), probe)

    options = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": double}
    folder = saved_by_transformers(source, tmp_path / "saved", after=evaluate, **options)
    found = quantize(get(f"checkpoint[folder={folder}]"), source, probe=probe)
    ours = quantize(quantizer, source, probe=probe)
    for name in ours.report.modules:
        assert torch.equal(*(quantizer.dequantize(m.module.get_submodule(name)) for m in (found, ours)))


def test_autogptq_checkpoints_give_the_weights_that_were_saved(source, samples, probe, tmp_path):
    folder = saved_by_autogptq(source, samples, tmp_path / "autogptq")
    found = quantize(get(f"checkpoint[folder={folder}]"), source, probe=probe)
    ours = quantize(get("gptq-int4"), source, samples=samples, probe=probe)
    assert found.report.modules == ours.report.modules
    for name in ours.report.modules:
        pair = [m.module.get_submodule(name).dequantize() for m in (found, ours)]
        assert torch.equal(*pair)
    # What is not quantized was rounded to float16 when it was saved.
    difference = (probe_logits(found.module, probe) - probe_logits(ours.module, probe)).abs().max()
    assert 0 < difference < 0.02


def test_groups_that_lie_apart_are_proven_in_their_own_order(autogptq, encoder, probe):
    """``desc_act``: columns belong to groups in any order."""
    file = autogptq / "gptq_model.safetensors"
    tensors = load_file(file)
    config = json.loads((autogptq / "quantize_config.json").read_text())
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    for name in [key for key in tensors if key.endswith("g_idx") and len(tensors[key]) == 128]:
        layer = name.removesuffix(".g_idx")
        weight = encoder.load().get_submodule(layer).weight.detach()
        g_idx = torch.empty(128, dtype=torch.int32)
        g_idx[order] = (torch.arange(128) // 64).int()
        scales = torch.stack([weight[:, g_idx == g].abs().amax(dim=1) / 7 for g in (0, 1)]).half()
        codes = (weight / scales.float()[g_idx.long()].T).round().clamp(-8, 7) + 8
        tensors[f"{layer}.qweight"] = pack(codes.T.long(), 4)
        tensors[f"{layer}.scales"], tensors[name] = scales, g_idx
    save_file(tensors, file)
    (autogptq / "quantize_config.json").write_text(json.dumps(config | {"desc_act": True}))
    quantizer = get(f"checkpoint[folder={autogptq}]")
    quantized = quantize(quantizer, encoder, probe=probe)
    apart = [f for f in quantizer.describe(quantized.module).values() if f.column_order]
    assert len(apart) == 3
    assert quantized.report.proof.max_weight_error < 0.2


def test_settings_in_config_json_are_read_too(autogptq, encoder, probe):
    settings = json.loads((autogptq / "quantize_config.json").read_text())
    (autogptq / "quantize_config.json").unlink()
    config = json.loads((autogptq / "config.json").read_text())
    config["quantization_config"] = settings | {"quant_method": "gptq"}
    (autogptq / "config.json").write_text(json.dumps(config))
    assert quantize(get(f"checkpoint[folder={autogptq}]"), encoder, probe=probe).report.proof.n_modules == 18


def test_a_checkpoint_is_known_by_its_content_not_by_its_place(autogptq, encoder, tmp_path):
    def known(folder):
        return identity(get(f"checkpoint[folder={folder}]"), encoder, samples=None, seed=0)

    shutil.copytree(autogptq, tmp_path / "moved")
    assert known(autogptq) == known(tmp_path / "moved")
    assert str(tmp_path) not in json.dumps(known(autogptq))
    changed = load_file(autogptq / "gptq_model.safetensors")
    changed["classifier.bias"] += 1
    save_file(changed, tmp_path / "moved" / "gptq_model.safetensors")
    assert known(autogptq) != known(tmp_path / "moved")


def test_how_a_checkpoint_is_decoded_is_part_of_its_identity(autogptq):
    hashes = set()
    settings = json.loads((autogptq / "quantize_config.json").read_text())
    for kind in ("gptq", "gptq_v2"):
        (autogptq / "quantize_config.json").write_text(json.dumps(settings | {"checkpoint_format": kind}))
        hashes.add(get(f"checkpoint[folder={autogptq}]").files_hash)
    assert len(hashes) == 2


def test_a_folder_without_autogptqs_file_keeps_its_identity(autogptq):
    (autogptq / "quantize_config.json").unlink()
    digest = hashlib.sha256()
    for name in ("gptq_model.safetensors", "config.json"):
        content = (autogptq / name).read_bytes()
        digest.update(name.encode() + b"\x00" + hashlib.sha256(content).digest())
    assert get(f"checkpoint[folder={autogptq}]").files_hash == digest.hexdigest()


def test_a_quantized_checkpoint_cannot_be_the_reference(autogptq, probe):
    source = ModelSource("mine", "sequence-classification", str(autogptq))
    message = r"quantized already \(gptq\).*name the model.*'checkpoint\[folder="
    with pytest.raises(InputError, match=message):
        source.resolve()
    with pytest.raises(InputError, match=message):
        quantize(get("bf16"), source, probe=probe)


def test_a_checkpoint_of_another_model_is_refused(autogptq, decoder, encoder, probe):
    with pytest.raises(QuantizationError, match=r"18 are not in the model.*was it made from this model"):
        quantize(get(f"checkpoint[folder={autogptq}]"), decoder, probe=probe)
    tensors = load_file(autogptq / "gptq_model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, autogptq / "gptq_model.safetensors")
    with pytest.raises(QuantizationError, match=r"1 of the model's are missing \(classifier.weight\)"):
        quantize(get(f"checkpoint[folder={autogptq}]"), encoder, probe=probe)


def test_an_unquantized_folder_and_an_unknown_method_are_refused(encoder, tmp_path, autogptq):
    with pytest.raises(InputError, match="has no quantization_config"):
        get(f"checkpoint[folder={encoder.location}]").check_available()
    (autogptq / "quantize_config.json").write_text('{"quant_method": "quip", "bits": 4}')
    with pytest.raises(InputError, match=r"'quip'.*calbench reads bitsandbytes, gptq, awq"):
        get(f"checkpoint[folder={autogptq}]").check_available()
    (autogptq / "quantize_config.json").write_text('{"bits": "four"}')
    with pytest.raises(CorruptRecordError, match="does not describe GPTQ"):
        get(f"checkpoint[folder={autogptq}]").check_available()


def test_it_needs_a_folder_and_is_left_out_of_all():
    with pytest.raises(InputError, match=r"write checkpoint\[folder=PATH\]"):
        get("checkpoint")
    assert "checkpoint" not in names()


def test_fetching_does_not_ask_whether_weights_are_quantized(autogptq):
    source = ModelSource("mine", "sequence-classification", str(autogptq))
    assert source.fetch() == replace(source, location=str(autogptq))
