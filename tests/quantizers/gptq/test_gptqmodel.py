import json

import pytest

pytest.importorskip("transformers", reason="quantizers need transformers")

import torch
from safetensors.torch import save_file

from calbench.errors import BackendUnavailableError, CorruptRecordError, InputError, QuantizationError
from calbench.quantizers import get
from calbench.quantizers.gptq._gptqmodel import _run, read_gptq_checkpoint
from calbench.quantizers.gptq._packed import PackedLinear, pack
from calbench.quantizers.gptq._solver import Grid, round_to_nearest


def written(folder, codes, *, bits, form):
    """A checkpoint as AutoGPTQ ("gptq": zero points less one) or its second format writes it."""
    shift = 1 if form == "gptq" else 0
    zeros = (codes.zeros.long() - shift) & ((1 << bits) - 1)
    tensors = {
        "a.b.qweight": pack(codes.codes.T, bits),
        "a.b.qzeros": pack(zeros, bits).T.contiguous(),
        "a.b.scales": codes.scales.T.contiguous(),
        "a.b.g_idx": (torch.arange(codes.codes.shape[1]) // 32).int(),
        "a.norm.weight": torch.ones(3),
    }
    save_file(tensors, folder / "model.safetensors")
    config = {"bits": bits, "quant_method": "gptq", "checkpoint_format": form}
    (folder / "quantize_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("form", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_checkpoints_of_both_formats_are_read(tmp_path, bits, symmetric, form):
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)).abs()  # zero points of 0
    codes = round_to_nearest(weight, Grid(bits, 32, symmetric))
    written(tmp_path, codes, bits=bits, form=form)
    layers = read_gptq_checkpoint(tmp_path)
    assert list(layers) == ["a.b"]
    assert torch.equal(
        PackedLinear(64, 32, bits=bits, tensors=layers["a.b"], bias=None).dequantize(), codes.dequantize()
    )


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    with pytest.raises(CorruptRecordError, match=r"neither .*quantize_config.json says how"):
        read_gptq_checkpoint(tmp_path)


def test_other_quantization_methods_are_refused(tmp_path):
    (tmp_path / "quantize_config.json").write_text('{"bits": 4, "quant_method": "awq"}')
    with pytest.raises(CorruptRecordError, match="does not describe GPTQ"):
        read_gptq_checkpoint(tmp_path)


def test_encoders_are_refused_by_gptqmodel_only(encoder, samples):
    with pytest.raises(InputError, match="causal language models only"):
        get("gptq-int4[backend=gptqmodel]").build(encoder, samples=samples, seed=0)


def test_a_missing_gptqmodel_names_its_extra(monkeypatch):
    monkeypatch.setattr(
        "calbench.quantizers._availability.find_spec", lambda name: name != "gptqmodel" or None
    )
    get("gptq-int4").check_available()
    with pytest.raises(
        BackendUnavailableError, match=r"gptqmodel, which is not installed; pip install 'calbench\[gptq\]'"
    ):
        get("gptq-int4[backend=gptqmodel]").check_available()


def test_a_failing_worker_is_quoted(tmp_path):
    with pytest.raises(QuantizationError, match=r"exit status 1.*\n"):
        _run({"nonsense": True}, tmp_path)
