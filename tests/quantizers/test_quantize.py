import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from calbench.errors import BackendUnavailableError, InputError, QuantizationError
from calbench.models import ModelSource
from calbench.quantizers import (
    QuantizationReport,
    WeightFormat,
    _reference,
    get,
    names,
    probe_logits,
    quantize,
    registry,
)
from calbench.quantizers._bnb import FourBit
from calbench.quantizers._cast import Cast
from calbench.quantizers._fp8 import Fp8
from calbench.quantizers._tiny import write_tiny

BITS = {
    "bf16": 16.0,
    "fp16": 16.0,
    # A float32 scale per row of 64 or 128, per 64 weights, and a code table of 16 floats per layer.
    "bnb-int8": 8 + 32 / 64,
    "bnb-nf4": 4 + 32 / 64,
    "bnb-fp4": 4 + 32 / 64,
    # A float16 scale and a zero point per 64 weights, and the group of each column.
    "gptq-int8": 8 + (16 + 8) / 64,
    "gptq-int4": 4 + (16 + 4) / 64,
    "gptq-int3": 3 + (16 + 3) / 64,
}


def require_backend(name):
    if name.startswith("bnb"):
        pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")


@pytest.mark.parametrize("name", sorted(BITS))
def test_every_quantizer_proves_itself_on_both_architectures(name, source, samples, probe):
    require_backend(name)
    module, report = (m := quantize(get(name), source, samples=samples, probe=probe)).module, m.report
    proof = report.proof
    assert not module.training
    assert proof.n_modules == len(report.modules) >= 18
    assert proof.min_weight_error > 0
    assert proof.max_logit_change > 0
    assert proof.kl_divergence > 0
    assert report.effective_bits == pytest.approx(BITS[name], rel=0.15)
    assert report.effective_bits >= int(BITS[name])
    assert report.effective_bits < report.model_effective_bits < 32 or name in ("bf16", "fp16")


@pytest.mark.parametrize("name", ["bnb-nf4", "gptq-int4"])
def test_every_layer_differs_from_the_reference_and_holds_16_values_a_group(name, source, samples):
    """What the proof claims, worked out again without it."""
    require_backend(name)
    quantizer, reference = get(name), source.load()
    model = quantizer.build(source, samples=samples, seed=0)
    targets = quantizer.targets(reference)
    assert len(targets) >= 18
    for layer in targets:
        weight = quantizer.dequantize(model.get_submodule(layer))
        assert not torch.equal(weight, reference.get_submodule(layer).weight)
        assert max(len(group.unique()) for group in weight.reshape(-1, 64)) <= 16


def test_the_reference_is_exempt_and_unchanged(source, probe):
    result = quantize(get("fp32"), source, probe=probe)
    assert result.report.proof is None
    assert result.report.effective_bits == 32
    assert torch.equal(probe_logits(result.module, probe), probe_logits(source.load(), probe))


def test_fewer_bits_change_the_weights_more(source, samples, probe):
    reports = [quantize(get(f"gptq-int{b}"), source, samples=samples, probe=probe).report for b in (8, 4, 3)]
    errors = [report.proof.max_weight_error for report in reports]
    assert errors == sorted(errors)
    kl = [report.proof.kl_divergence for report in reports]
    assert kl[0] < min(kl[1:])


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_cast_of_weights_that_were_published_in_its_type_is_accepted(name, decoder, probe, tmp_path):
    quantizer = get(name)
    decoder.load(getattr(torch, quantizer.dtype)).save_pretrained(tmp_path)
    proof = quantize(quantizer, replace(decoder, location=str(tmp_path)), probe=probe).report.proof
    assert proof.max_weight_error == 0
    assert proof.max_logit_change > 0


def test_a_cast_of_the_weights_alone_is_refused_where_it_changes_nothing(decoder, probe, tmp_path):
    decoder.load(torch.bfloat16).save_pretrained(tmp_path)

    class WeightsOnly(Cast):
        def build(self, source, *, samples, seed):
            model = super().build(source, samples=samples, seed=seed)
            model.forward = source.load().forward
            return model

    with pytest.raises(QuantizationError, match="quantization had no effect"):
        quantize(
            WeightsOnly("weights-only", "bfloat16"), replace(decoder, location=str(tmp_path)), probe=probe
        )


def test_reports_survive_json(encoder, probe):
    report = quantize(get("bf16"), encoder, probe=probe).report
    again = QuantizationReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again == report
    with pytest.raises(InputError, match="no quantization report"):
        QuantizationReport.from_dict({"quantizer": "x"})


def test_resident_bytes_count_shared_tensors_once(decoder, probe):
    report = quantize(get("fp32"), decoder, probe=probe).report
    model = decoder.load()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    parts = [*model.parameters(), *model.buffers()]
    assert report.resident_bytes == sum(p.nbytes for p in parts)


@dataclass(frozen=True)
class Fake:
    """Claims four bits and does what its ``change`` does."""

    change: str
    id: str = "fake"
    epsilon: float = 0.1
    n_samples: int = 0
    stochastic: bool = False
    batch_dependent: bool = False
    packages: tuple[str, ...] = ()
    kernel: str = "none"

    def check_available(self): ...

    def targets(self, model):
        return get("bnb-nf4").targets(model)

    def build(self, source, *, samples, seed):
        model = source.load()
        for name in self.targets(model):
            layer = model.get_submodule(name)
            if self.change == "wrap":
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, torch.nn.Sequential(layer))
            elif self.change == "noise":
                parent, _, child = name.rpartition(".")
                layer.weight.data *= 1.01
                setattr(model.get_submodule(parent), child, torch.nn.Sequential(layer))
            elif self.change == "nan":
                layer.weight.data = torch.full_like(layer.weight, float("nan")).to(torch.bfloat16)
        return model

    def describe(self, model):
        float_model = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        names_ = {n.removesuffix(".0") if self.change != "none" else n for n in float_model}
        return {n: WeightFormat("fake4", 4, 64) for n in names_}

    def dequantize(self, module):
        layer = module[0] if isinstance(module, torch.nn.Sequential) else module
        return layer.weight.detach().float()

    def weight_tensors(self, module):
        return {"weight": self.dequantize(module)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("none", r"18 of 18 layers are still float: bert.encoder.layer.0.attention.self.query"),
        ("wrap", "18 of 18 layers have weights that are bit-identical"),
        ("noise", r"do not lie on the claimed grid: bert.encoder.*\(fake4\)"),
        ("nan", "off by nan"),
    ],
)
def test_a_quantizer_that_does_not_quantize_is_refused_by_layer_names(change, message, encoder, probe):
    with pytest.raises(QuantizationError, match=message):
        quantize(Fake(change), encoder, probe=probe)


def test_one_layer_left_float_is_found(encoder, probe):
    pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")

    class Forgetful(FourBit):
        def build(self, source, *, samples, seed):
            model = super().build(source, samples=samples, seed=seed)
            model.bert.encoder.layer[1].output.dense = source.load().bert.encoder.layer[1].output.dense
            return model

    forgetful = Forgetful("forgetful", code="nf4")
    with pytest.raises(QuantizationError, match=r"1 of 18 layers are still float: bert\.encoder\.layer\.1"):
        quantize(forgetful, encoder, probe=probe)


def test_quantized_weights_that_do_not_reach_the_output_are_refused(encoder, probe):
    pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")

    class Detached(FourBit):
        def build(self, source, *, samples, seed):
            model = super().build(source, samples=samples, seed=seed)
            original = source.load()
            model.forward = original.forward
            return model

    detached = Detached("detached", code="nf4")
    with pytest.raises(QuantizationError, match="quantization had no effect"):
        quantize(detached, encoder, probe=probe)


@pytest.mark.parametrize("probe_", [(), ((1, 2), ())])
def test_an_empty_probe_is_refused_before_any_work(encoder, probe_):
    with pytest.raises(InputError, match="probe is empty"):
        quantize(get("bf16"), encoder, probe=probe_)


def test_a_missing_backend_names_its_extra(monkeypatch, encoder, probe):
    monkeypatch.setattr("calbench.quantizers._availability.find_spec", lambda _: None)
    with pytest.raises(BackendUnavailableError, match=r"bitsandbytes.*calbench\[bitsandbytes\]"):
        quantize(get("bnb-nf4"), encoder, probe=probe)


def test_every_built_in_id_is_tested_here():
    built_in = {name for name in names() if registry.origin(name).startswith("calbench.")}
    # In test_hqq.py, test_gguf.py, test_awq.py and test_number_formats.py.
    elsewhere = ("hqq-", "gguf-", "awq-", "fp8-", "int8", "mxfp4", "nvfp4")
    assert {name for name in built_in if not name.startswith(elsewhere)} == {"fp32", *BITS}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's account of memory")
def test_the_proofs_reference_is_pages_of_its_file_and_no_second_copy(tmp_path):
    def own_bytes():
        status = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    source = write_tiny("causal-lm", tmp_path, width=512)
    first = source.load()
    before = own_bytes()
    second = source.load()
    n_bytes = sum(parameter.nbytes for parameter in second.parameters())
    assert n_bytes > 15e6
    assert sum(float(parameter.detach().abs().max()) for parameter in second.parameters()) > 0
    assert own_bytes() - before < n_bytes / 4
    del first


def test_the_reference_is_loaded_once_and_asked_before_it_is_quantized(encoder, probe, monkeypatch):
    """On a GPU the two are never there together, and on a CPU there is no second copy."""
    steps = []
    loads, asks = ModelSource.load, _reference.probe_logits

    def load(self, *arguments):
        steps.append("load")
        return loads(self, *arguments)

    def ask(model, texts):
        steps.append("ask")
        return asks(model, texts)

    monkeypatch.setattr(ModelSource, "load", load)
    monkeypatch.setattr(_reference, "probe_logits", ask)
    quantize(get("fp8-e4m3"), encoder, samples=None, probe=probe)
    assert steps == ["load", "ask"]


@pytest.mark.parametrize("through_data", [True, False])
def test_a_quantizer_that_writes_into_the_weights_it_was_given_is_compared_with_fresh_ones(
    through_data, encoder, probe
):
    class InPlace(Fp8):
        def swapped(self, layer, how):
            new = super().swapped(layer, how)
            given = layer.weight.data if through_data else layer.weight.detach()
            given.copy_(new.dequantize())
            return new

    in_place = InPlace("in-place", dtype="e4m3fn")
    proof = quantize(in_place, encoder, probe=probe).report.proof
    assert proof == quantize(get("fp8-e4m3"), encoder, probe=probe).report.proof
