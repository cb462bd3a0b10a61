"""FP8, INT8, MXFP4 and NVFP4: grids, rounded inputs, SmoothQuant."""

import pytest

pytest.importorskip("torch", reason="quantizers need torch")

import numpy as np
import torch

from calbench.errors import InputError
from calbench.quantizers import get, quantize
from calbench.quantizers._coded_layers import Fp8Linear, Int8Linear, Mxfp4Linear, Nvfp4Linear
from calbench.quantizers._layer_inputs import measured
from calbench.testing import check_quantizer

FORMATS = ("fp8-e4m3", "fp8-e5m2[scale=tensor]", "int8[activations=dynamic]", "mxfp4", "nvfp4")
ENCODER = ("sequence-classification",)


def a_layer(width=128, *, rows=48):
    layer = torch.nn.Linear(width, rows)
    torch.nn.init.normal_(layer.weight, std=0.05, generator=torch.Generator().manual_seed(3))
    return layer


def tokens(n=6, width=128):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", FORMATS)
def test_number_formats_keep_the_rules(name):
    check_quantizer(name, architectures=ENCODER if "int8" in name or "e5m2" in name else ("causal-lm",))


@pytest.mark.parametrize("name", [*FORMATS, "fp8-e4m3[activations=dynamic]", "nvfp4[activations=dynamic]"])
def test_every_format_proves_itself(name, source, probe):
    report = quantize(get(name), source, probe=probe).report
    assert report.proof.n_modules > 0
    assert 4.2 < report.effective_bits < 8.6


@pytest.mark.parametrize(("name", "largest"), [("e4m3fn", 2**-4), ("e5m2", 2**-3)])
def test_an_fp8_weight_is_off_by_the_types_unit_roundoff_at_most(name, largest):
    layer = a_layer()
    weight = layer.weight.detach()
    found = Fp8Linear.encoded(layer, name, scaling="channel", rounds_inputs=False).decode()
    relative = ((found - weight).abs() / weight.abs())[weight.abs() > weight.abs().max() / 1000]
    assert largest / 2 < float(relative.max()) <= largest
    assert found.abs().amax(dim=1).numpy() == pytest.approx(weight.abs().amax(dim=1).numpy())


def test_one_scale_for_the_tensor_is_coarser_for_small_rows_of_integers_than_one_a_row():
    layer = a_layer()
    with torch.no_grad():
        layer.weight[0] /= 1e7
    by_row = Fp8Linear.encoded(layer, "e4m3fn", scaling="channel", rounds_inputs=False)
    by_tensor = Fp8Linear.encoded(layer, "e4m3fn", scaling="tensor", rounds_inputs=False)
    assert by_row.scale.shape == (48, 1)
    assert by_tensor.scale.shape == (1, 1)
    assert by_tensor.decode()[0].abs().max() == 0 < by_row.decode()[0].abs().max()


def test_mxfp4_is_gguf_s_grid_to_the_bit():
    libgguf = pytest.importorskip("libgguf", reason="the comparison needs libgguf")
    layer = a_layer()
    kind = libgguf.GGMLQuantizationType.MXFP4
    blocks = libgguf.quantize_rows(layer.weight.detach().numpy(), kind)
    expected = libgguf.dequantize_rows(blocks, kind, n_per_row=128)
    assert (Mxfp4Linear.encoded(layer, rounds_inputs=False).decode().numpy() == expected).all()


def test_nvfp4_rounds_to_e2m1_times_e4m3_times_a_float():
    layer = a_layer()
    found = Nvfp4Linear.encoded(layer, rounds_inputs=False)
    weight = layer.weight.detach().numpy().reshape(48, 8, 16)
    outer = np.abs(weight).max() / (6 * 448)
    inner = torch.tensor(np.abs(weight).max(axis=2) / 6 / outer).to(torch.float8_e4m3fn).float().numpy()
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    values = np.concatenate([-values[:0:-1], values]) * (inner * outer)[..., None, None]
    expected = np.take_along_axis(
        values, np.abs(values - weight[..., None]).argmin(axis=-1)[..., None], axis=-1
    )
    assert found.decode().numpy().reshape(48, 8, 16) == pytest.approx(expected[..., 0], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda layer: Int8Linear.encoded(layer, rounds_inputs=True),
        lambda layer: Fp8Linear.encoded(layer, "e4m3fn", scaling="channel", rounds_inputs=True),
        lambda layer: Mxfp4Linear.encoded(layer, rounds_inputs=True),
        lambda layer: Nvfp4Linear.encoded(layer, rounds_inputs=True),
    ],
    ids=["int8", "fp8", "mxfp4", "nvfp4"],
)
def test_inputs_are_rounded_token_by_token_to_the_weights_own_format(make):
    layer = a_layer()
    layer.requires_grad_(requires_grad=False)
    found, x = make(layer), tokens()
    x[2] *= 1000  # an outlier costs its own token only
    rounded = found.round_inputs(x)
    assert torch.equal(rounded[:2], found.round_inputs(x[:2]))
    assert torch.equal(rounded, make(torch.nn.Linear(128, 48)).round_inputs(x))
    assert 0 < float((rounded - x).norm() / x.norm()) < 0.2
    assert torch.allclose(found(x), torch.nn.functional.linear(rounded, found.decode(), layer.bias))


def test_a_zero_row_and_a_zero_token_stay_zero():
    layer = a_layer()
    with torch.no_grad():
        layer.weight[0] = 0
    for found in (
        Int8Linear.encoded(layer, rounds_inputs=True),
        Fp8Linear.encoded(layer, "e5m2", scaling="channel", rounds_inputs=True),
        Mxfp4Linear.encoded(layer, rounds_inputs=True),
        Nvfp4Linear.encoded(layer, rounds_inputs=True),
    ):
        assert found.decode()[0].abs().max() == 0
        assert found.round_inputs(torch.zeros(1, 128)).abs().max() == 0


def test_smoothquant_moves_what_outliers_cost_from_inputs_to_weights():
    layer, x = a_layer(), tokens(64)
    layer.requires_grad_(requires_grad=False)
    x[:, 5] *= 100
    factor = x.abs().amax(dim=0).sqrt() / layer.weight.abs().amax(dim=0).sqrt()
    plain = Int8Linear.encoded(layer, rounds_inputs=True)
    smooth = Int8Linear.encoded(layer, rounds_inputs=True, column_scale=factor)
    exact = layer(x)
    assert (smooth(x) - exact).norm() < 0.5 * (plain(x) - exact).norm()
    assert torch.allclose(smooth.dequantize(), layer.weight, atol=0.05)


def test_smoothquant_reads_the_largest_input_of_each_column(encoder, samples):
    quantizer = get("int8[activations=dynamic,smoothquant=0.5]")
    assert quantizer.n_samples == 64
    model = encoder.load()
    name = "bert.encoder.layer.0.attention.self.query"
    seen = []
    model.get_submodule(name).register_forward_pre_hook(lambda _, x: seen.append(x[0].abs().amax(dim=(0, 1))))
    factor = quantizer.plan(model, samples.take(8))[name]
    weight = model.get_submodule(name).weight.detach()
    expected = (torch.stack(seen).amax(dim=0) / weight.abs().amax(dim=0)).sqrt()
    assert torch.allclose(factor, expected)


def test_layers_that_read_one_tensor_share_their_sums(encoder, samples):
    names = [f"bert.encoder.layer.0.attention.self.{part}" for part in ("query", "key", "value")]
    names.append("bert.encoder.layer.0.attention.output.dense")
    query, key, value, output = measured(encoder.load(), names, samples.take(3), moments=True).values()
    assert query is key is value is not output
    assert query.n_tokens == output.n_tokens == samples.take(3).n_tokens
    assert query.moment.shape == (64, 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("int8[smoothquant=0.5]", "add activations=dynamic"),
        ("int8[activations=dynamic,smoothquant=1.5]", r"outside \[0, 1\)"),
        ("fp8-e4m3[scale=block]", "'block' is not 'channel' or 'tensor'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        get(name)
