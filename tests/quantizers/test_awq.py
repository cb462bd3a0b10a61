"""AWQ, against the paper's formula written down a second time."""

import pytest

pytest.importorskip("torch", reason="quantizers need torch")

import numpy as np
import torch

from calbench.errors import CorruptRecordError, InputError
from calbench.quantizers import get, quantize
from calbench.quantizers._awq_layer import searched
from calbench.quantizers._layer_inputs import LayerInputs
from calbench.quantizers.gptq._solver import Grid, round_to_nearest
from calbench.testing import check_quantizer


def inputs_of(x):
    zeros = torch.zeros(x.shape[1])
    found = LayerInputs(zeros, zeros.clone(), torch.zeros(x.shape[1], x.shape[1]))
    found.add(x)
    return found


def with_outliers(n=200, width=64, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(width, generator=torch.Generator().manual_seed(9)).pow(-1.5)
    return torch.randn(n, width, generator=generator) * spread


def a_weight(rows=40, width=64):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1)) * 0.1


def rounded_by_the_book(weight, group_size):
    """Asymmetric round-to-nearest in 4 bits, group by group, written without torch."""
    groups = weight.reshape(len(weight), -1, group_size)
    low, high = np.minimum(groups.min(axis=2), 0), np.maximum(groups.max(axis=2), 0)
    step = ((high - low) / 15).astype(np.float16).astype(np.float64)[..., None]
    zero = np.round(-low[..., None] / step)
    codes = np.clip(np.round(groups / step) + zero, 0, 15)
    return ((codes - zero) * step).reshape(weight.shape)


def test_the_search_finds_the_scales_of_the_papers_formula():
    weight, x = a_weight(), with_outliers()
    found = searched(weight, inputs_of(x), Grid(4, 32, symmetric=False)).double().numpy()
    w, inputs = weight.double().numpy(), x.double().numpy()
    exact, losses, scales = inputs @ w.T, [], []
    for alpha in np.arange(20) / 20:
        scale = np.abs(inputs).mean(axis=0) ** alpha
        scale /= np.sqrt(scale.max() * scale.min())
        # Equation 2 with equation 4: Q(W diag(s)) (diag(s)^-1 X).
        losses.append(np.square((inputs / scale) @ rounded_by_the_book(w * scale, 32).T - exact).sum())
        scales.append(scale)
    assert 0 < np.argmin(losses) < 19
    assert found == pytest.approx(scales[int(np.argmin(losses))], rel=1e-3)


def test_scales_of_one_are_among_those_searched_so_that_it_is_never_worse_than_rounding():
    weight, x = a_weight(), torch.ones(50, 64)
    grid = Grid(4, 32, symmetric=True)
    scale = searched(weight, inputs_of(x), grid)
    assert torch.equal(scale, torch.ones(64, dtype=torch.float16))


def test_it_beats_rounding_to_nearest_on_inputs_that_it_did_not_read():
    weight, grid = a_weight(), Grid(4, 32, symmetric=True)
    scale = searched(weight, inputs_of(with_outliers()), grid)
    other = with_outliers(seed=7)
    error = other @ (round_to_nearest(weight * scale, grid).dequantize() / scale - weight).T
    plain = other @ (round_to_nearest(weight, grid).dequantize() - weight).T
    assert error.norm() < 0.9 * plain.norm()


@pytest.mark.parametrize("name", ["awq-int4[n_samples=8]", "awq-int4[group_size=32,n_samples=8,sym=true]"])
def test_awq_keeps_the_rules(name):
    check_quantizer(name)


def test_bytes_include_scales_zero_points_and_factors(source, samples, probe):
    report = quantize(get("awq-int4"), source, samples=samples, probe=probe).report
    # 4 bits, and per group of 64 a scale (16) and a zero point (4); a float16 factor per column.
    assert 4 + 20 / 64 + 16 / 128 <= report.effective_bits <= 4 + 20 / 64 + 16 / 32 + 0.1
    assert set(report.modules.values()) == {"awq4-g64-asym"}


def test_a_checkpoint_is_reloaded_bit_for_bit_and_never_rebuilt(
    decoder, samples, probe, tmp_path, monkeypatch
):
    options = {"samples": samples, "probe": probe, "checkpoint_dir": tmp_path}
    first = quantize(get("awq-int4"), decoder, **options)
    monkeypatch.setattr(type(get("awq-int4")), "build", lambda *_, **__: pytest.fail("built again"))
    again = quantize(get("awq-int4"), decoder, **options)
    assert again.report.from_checkpoint
    assert again.report.tensors_hash == first.report.tensors_hash


def test_a_checkpoint_of_other_layers_is_refused(encoder, samples, tmp_path):
    other = get("awq-int4[skip=key]")
    other.save(other.build(encoder, samples=samples.take(4), seed=0), tmp_path)
    with pytest.raises(CorruptRecordError, match="its layers are not those that awq-int4 quantizes"):
        get("awq-int4").load(encoder, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("awq-int4[group_size=0]", "use 64, 32 or 128"),
        ("awq-int4[group_size=48]", "does not divide the 64 inputs"),
        ("awq-int4[n_samples=0]", "at least one sample"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, message, encoder):
    with pytest.raises(InputError, match=message):
        get(name).targets(encoder.skeleton())
