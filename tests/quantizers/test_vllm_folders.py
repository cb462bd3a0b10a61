"""Checkpoints as vLLM serves them: by compressed-tensors, or packed by hand where no package runs here."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="quantizers need torch")

import torch
from safetensors.torch import load_file, save_file

from calbench.errors import CalbenchError, InputError, QuantizationError
from calbench.quantizers import get, quantize
from calbench.quantizers._coded_layers import Fp8Linear, Int8Linear
from calbench.quantizers.gptq._solver import Grid, round_to_nearest

LAYER = "model.layers.0.mlp.down_proj"


def with_settings(source, folder, settings, tensors=None):
    """Copy a model's folder with a quantization_config, and other weights where they are given."""
    shutil.copytree(source.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    if tensors is not None:
        save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "model.safetensors")
    return folder


def by_compressed_tensors(source, folder, preset, kind):
    """Write a folder with the package: its scales, its compressor, its configuration."""
    library = pytest.importorskip("compressed_tensors.quantization", reason="needs compressed-tensors")
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization.utils import calculate_qparams

    model = source.load()
    scheme = library.preset_name_to_scheme(preset, ["Linear"])
    if (scheme.weights.group_size or 0) > 0:
        scheme.weights.group_size = 32
    settings = library.QuantizationConfig(
        config_groups={"group_0": scheme}, ignore=["lm_head"], format=kind, quantization_status="initialized"
    )
    library.apply_quantization_config(model, settings)
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is None:
            continue
        weight, args = module.weight.data, scheme.weights
        shape = {"group": (len(weight), -1, 32), "channel": (len(weight), 1, -1), "tensor": (1, 1, -1)}
        parts = weight.reshape(shape[args.strategy])
        scale, _ = calculate_qparams(parts.amin(-1), parts.amax(-1), args)
        module.weight_scale.data.copy_(scale.reshape(module.weight_scale.shape))
        if hasattr(module, "input_scale"):
            module.input_scale.data.fill_(0.05)
        module.quantization_status = library.QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format=kind)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(str(folder))
    return folder


@pytest.mark.parametrize(
    ("preset", "kind", "bits", "kl"),
    [
        ("W4A16", "pack-quantized", 5.0, 0.5),
        ("W8A8", "int-quantized", 8.5, 0.02),
        ("FP8_DYNAMIC", "float-quantized", 8.5, 0.1),
        ("FP8", "float-quantized", 8.1, 0.5),
        ("MXFP4A16", "mxfp4-pack-quantized", 4.25, 1.0),
    ],
)
def test_folders_of_compressed_tensors_are_read_and_proven(preset, kind, bits, kl, decoder, probe, tmp_path):
    folder = by_compressed_tensors(decoder, tmp_path / "saved", preset, kind)
    report = quantize(get(f"checkpoint[folder={folder}]"), decoder, probe=probe).report
    assert report.proof.n_modules == 21
    assert report.effective_bits == pytest.approx(bits, abs=0.3)
    assert 0 < report.proof.kl_divergence < kl


@pytest.mark.parametrize(("preset", "kind"), [("W8A8", "int-quantized"), ("FP8_DYNAMIC", "float-quantized")])
def test_its_eight_bit_folders_are_the_formats_that_are_quantized_to_here(preset, kind, decoder, tmp_path):
    folder = by_compressed_tensors(decoder, tmp_path / "saved", preset, kind)
    found = get(f"checkpoint[folder={folder}]").build(decoder, samples=None, seed=0).get_submodule(LAYER)
    plain = decoder.load().get_submodule(LAYER)
    if preset == "W8A8":
        ours = Int8Linear.encoded(plain, rounds_inputs=True)
    else:
        ours = Fp8Linear.encoded(plain, "e4m3fn", scaling="channel", rounds_inputs=True)
    step = 1 / 127 if preset == "W8A8" else 2**-3
    x = torch.randn(5, plain.in_features, generator=torch.Generator().manual_seed(0))
    assert (found.decode() - ours.decode()).abs().max() <= step * plain.weight.abs().max()
    assert (found.round_inputs(x) - ours.round_inputs(x)).abs().max() <= step * x.abs().max()
    assert (found.decode() - ours.decode()).norm() < 0.01 * plain.weight.norm()


def awq_packed(codes):
    """Eight output columns to a word, as AutoAWQ's ``WQLinear_GEMM`` packs them."""
    words = torch.zeros(len(codes), codes.shape[1] // 8, dtype=torch.int64)
    for place, column in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
        words |= codes[:, column::8].long() << (4 * place)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def awq_folder(source, folder, **settings):
    model = source.load()
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    weights = {}
    for name in get("awq-int4").targets(model):
        codes = round_to_nearest(tensors.pop(f"{name}.weight"), Grid(4, 32, symmetric=False))
        weights[name] = codes.dequantize()
        tensors[f"{name}.qweight"] = awq_packed(codes.codes.T)
        tensors[f"{name}.qzeros"] = awq_packed(codes.zeros.T)
        tensors[f"{name}.scales"] = codes.scales.T
    given = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
    return with_settings(source, folder, given | settings, tensors), weights


def test_awq_folders_give_the_weights_that_were_packed(source, probe, tmp_path):
    folder, weights = awq_folder(source, tmp_path / "saved")
    quantizer = get(f"checkpoint[folder={folder}]")
    found = quantize(quantizer, source, probe=probe)
    assert set(found.report.modules.values()) == {"awq4-g32-asym"}
    for name, weight in weights.items():
        assert torch.equal(quantizer.dequantize(found.module.get_submodule(name)), weight)


def test_another_layout_of_awq_is_refused(encoder, tmp_path):
    folder, _ = awq_folder(encoder, tmp_path / "saved", version="gemv")
    with pytest.raises(InputError, match="AWQ's 4-bit 'gemv' layout"):
        get(f"checkpoint[folder={folder}]").check_available()


def fp8_folder(source, folder):
    """Squares of 32 by 32, each with its scale, as DeepSeek publishes its weights."""
    model = source.load()
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for name in get("fp8-e4m3").targets(model):
        squares = tensors[f"{name}.weight"].unfold(0, 32, 32).unfold(1, 32, 32)
        scale = squares.abs().amax(dim=(2, 3)) / 448
        spread = scale.repeat_interleave(32, 0).repeat_interleave(32, 1)
        tensors[f"{name}.weight"] = (tensors[f"{name}.weight"] / spread).to(torch.float8_e4m3fn)
        tensors[f"{name}.weight_scale_inv"] = scale
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 32]}
    return with_settings(source, folder, settings, tensors)


def test_fine_grained_fp8_folders_are_read_and_proven(source, probe, tmp_path):
    report = quantize(
        get(f"checkpoint[folder={fp8_folder(source, tmp_path / 'saved')}]"), source, probe=probe
    ).report
    assert set(report.modules.values()) == {"fp8-e4m3-32x32"}
    assert report.effective_bits == pytest.approx(8, abs=0.6)
    assert 0 < report.proof.max_weight_error < 0.04


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "gptq", "bits": 4, "group_size": 64},
    ],
    ids=lambda settings: settings["quant_method"],
)
def test_a_quantization_config_over_unquantized_weights_is_refused(settings, decoder, probe, tmp_path):
    folder = with_settings(decoder, tmp_path / "saved", settings)
    with pytest.raises(CalbenchError, match=r"no quantized layers|no packed"):
        quantize(get(f"checkpoint[folder={folder}]"), decoder, probe=probe)


def test_scales_beside_weights_that_stayed_float_are_refused(decoder, probe, tmp_path):
    folder = fp8_folder(decoder, tmp_path / "saved")
    tensors = load_file(folder / "model.safetensors")
    tensors |= {k: t.float() for k, t in tensors.items() if t.dtype == torch.float8_e4m3fn}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"should be float8_e4m3fn is torch.float32; it is not quantized"):
        quantize(get(f"checkpoint[folder={folder}]"), decoder, probe=probe)


def test_a_folder_of_another_model_is_refused(encoder, decoder, probe, tmp_path):
    folder = fp8_folder(encoder, tmp_path / "saved")
    with pytest.raises(QuantizationError, match="was it made from this model"):
        quantize(get(f"checkpoint[folder={folder}]"), decoder, probe=probe)


@pytest.mark.parametrize("method", ["mxfp4", "modelopt"])
def test_what_a_cpu_cannot_read_says_what_to_take_instead(method, decoder, tmp_path):
    folder = with_settings(decoder, tmp_path / "saved", {"quant_method": method})
    with pytest.raises(InputError, match=f"{method!r}, which cannot be read here.*take the"):
        get(f"checkpoint[folder={folder}]").check_available()


TORCHAO = {
    "int8": lambda q: q.Int8WeightOnlyConfig(),
    "int8, inputs too": lambda q: q.Int8DynamicActivationInt8WeightConfig(),
    "fp8": lambda q: q.Float8WeightOnlyConfig(),
    "int4": lambda q: q.IntxWeightOnlyConfig(weight_dtype=torch.int4),
    "int4, inputs too": lambda q: q.Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4),
}


@pytest.fixture(params=[(kind, "float32") for kind in TORCHAO] + [("int8", "bfloat16")], ids="-".join)
def torchao(request, decoder, tmp_path):
    """A folder that transformers and torchao wrote, and the model as they read it."""
    library = pytest.importorskip("torchao.quantization", reason="needs torchao")
    import transformers

    kind, dtype = request.param
    auto = transformers.AutoModelForCausalLM
    settings = transformers.TorchAoConfig(quant_type=TORCHAO[kind](library))
    made = auto.from_pretrained(decoder.folder, quantization_config=settings, dtype=getattr(torch, dtype))
    made.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved", made.eval()


def test_folders_of_torchao_are_read_as_torchao_reads_them(torchao, decoder, probe):
    folder, made = torchao
    found = quantize(get(f"checkpoint[folder={folder}]"), decoder, probe=probe)
    assert found.report.proof.n_modules == 21
    assert 0 < found.report.proof.kl_divergence < 0.5
    for name in found.report.modules:
        theirs = made.get_submodule(name).weight.dequantize().float()
        assert torch.equal(found.module.get_submodule(name).decode(), theirs)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    layer = "model.layers.0.self_attn.q_proj"
    theirs = made.get_submodule(layer)(x.to(made.dtype)).float()
    ours = found.module.get_submodule(layer)(x)
    assert (ours - theirs).norm() < (0.01 if made.dtype == torch.bfloat16 else 1e-4) * theirs.norm()


def test_a_torchao_folder_of_packed_codes_is_refused_with_what_to_take_instead(decoder, tmp_path):
    pytest.importorskip("torchao", reason="needs torchao")
    folder = with_settings(decoder, tmp_path / "saved", {"quant_method": "torchao"})
    said = {"tensor_names": f'["{LAYER}.weight"]', f"{LAYER}.weight": '{"_type": "Int4Tensor"}'}
    save_file({f"{LAYER}._weight_qdata": torch.zeros(2)}, folder / "model.safetensors", metadata=said)
    with pytest.raises(InputError, match=r"holds torchao's Int4Tensor, which cannot be decoded here"):
        quantize(get(f"checkpoint[folder={folder}]"), decoder, probe=((1, 2, 3),))
