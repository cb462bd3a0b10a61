"""HQQ, against the package's own layer."""

import pytest

pytest.importorskip("hqq", reason="hqq quantizers need hqq")

import torch

from calbench.errors import BackendUnavailableError, CorruptRecordError, InputError
from calbench.quantizers import get, quantize

LAYER = "bert.encoder.layer.1.output.dense"


def build(name, source):
    return get(name).build(source, samples=None, seed=0)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_weights_are_those_of_hqqs_own_layer(bits, encoder):
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    quantizer, model, plain = get(f"hqq-int{bits}"), build(f"hqq-int{bits}", encoder), encoder.load()
    config = BaseQuantizeConfig(nbits=bits, group_size=64, axis=1)
    own = HQQLinear(plain.get_submodule(LAYER), config, compute_dtype=torch.float32, device="cpu")
    found, expected = quantizer.dequantize(model.get_submodule(LAYER)), own.dequantize()
    # Scales and zero points are kept in float16 here: a zero point of up to 255 moves by up to 1/16.
    step = own.meta["scale"].max() * (1 / 16 if bits == 8 else 1 / 128)
    assert (found - expected).abs().max() <= step + expected.abs().max() * 2**-10


def test_fitted_zero_points_beat_rounding_to_nearest(encoder):
    expected = encoder.load().get_submodule(LAYER).weight.detach()
    errors = []
    for name in ("hqq-int4", "hqq-int4[optimize=false]"):
        weight = get(name).dequantize(build(name, encoder).get_submodule(LAYER))
        # HQQ minimises an l_p norm with p = 0.7.
        errors.append(float((weight - expected).abs().pow(0.7).mean()))
    assert errors[0] < errors[1]


@pytest.mark.parametrize(("bits", "stored"), [(8, 8.5), (4, 4.5), (3, 3.7)])
def test_bytes_include_scales_and_zero_points(bits, stored, source, probe):
    report = quantize(get(f"hqq-int{bits}"), source, probe=probe).report
    # 3-bit codes come ten to a word, and the last words of a small layer are not full.
    assert stored <= report.effective_bits <= stored + 0.2
    assert report.checkpoint_bytes is None


def test_a_checkpoint_is_reloaded_bit_for_bit_and_never_rebuilt(source, probe, tmp_path, monkeypatch):
    first = quantize(get("hqq-int4"), source, probe=probe, checkpoint_dir=tmp_path)
    monkeypatch.setattr(type(get("hqq-int4")), "build", lambda *_, **__: pytest.fail("built again"))
    again = quantize(get("hqq-int4"), source, probe=probe, checkpoint_dir=tmp_path)
    assert again.report.from_checkpoint
    assert again.report.tensors_hash == first.report.tensors_hash
    assert again.report.proof == first.report.proof


def test_a_checkpoint_of_other_layers_is_refused(encoder, tmp_path):
    get("hqq-int4[skip=key]").save(build("hqq-int4[skip=key]", encoder), tmp_path)
    with pytest.raises(CorruptRecordError, match="its layers are not those that hqq-int4 quantizes"):
        get("hqq-int4").load(encoder, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hqq-int4[group_size=0]", "use 64, 32 or 128"),
        ("hqq-int4[group_size=48]", "does not divide the 64 inputs"),
    ],
)
def test_group_sizes_that_do_not_fit_are_refused(name, message, encoder):
    with pytest.raises(InputError, match=message):
        get(name).targets(encoder.skeleton())


def test_without_hqq_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("calbench.quantizers._availability.find_spec", lambda name: name != "hqq" or None)
    with pytest.raises(BackendUnavailableError, match=r"hqq-int4 needs hqq.*calbench\[hqq\]"):
        get("hqq-int4").check_available()
