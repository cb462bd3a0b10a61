import copy

import pytest

pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")

import torch
from torch import nn

from calbench.quantizers import get, probe_logits, quantize


def build(name, source):
    return get(name).build(source, samples=None, seed=0)


def oracle(name, source):
    """The float32 model with the dequantized weights of the quantized one."""
    quantizer, model, plain = get(name), build(name, source), source.load()
    for layer in quantizer.describe(model):
        plain.get_submodule(layer).weight.data = quantizer.dequantize(model.get_submodule(layer))
    return plain


def batch_logits(model, rows):
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask).logits


@pytest.mark.parametrize("name", ["bnb-nf4", "bnb-nf4[double_quant=true]", "bnb-fp4"])
def test_float32_compute_equals_a_dequantized_oracle(name, source, probe):
    model = build(name, source)
    difference = (probe_logits(model, probe) - probe_logits(oracle(name, source), probe)).abs().max()
    # Same float32 products; only the order of summation may differ.
    assert difference < 2e-5


def test_lower_compute_types_are_obeyed(encoder, probe):
    exact = probe_logits(oracle("bnb-nf4", encoder), probe)
    rough = probe_logits(build("bnb-nf4[compute_dtype=bfloat16]", encoder), probe)
    assert 1e-4 < (rough - exact).abs().max() < 1


@pytest.mark.parametrize("name", ["bnb-nf4", "bnb-nf4[double_quant=true]"])
def test_a_forward_in_evaluation_mode_leaves_the_weights_alone(name, encoder, probe):
    quantizer, model = get(name), build(name, encoder)
    layer = model.bert.encoder.layer[0].output.dense
    before, codes = quantizer.dequantize(layer).clone(), layer.weight.data.clone()
    probe_logits(model, probe)
    assert torch.equal(layer.weight.data, codes)
    assert torch.equal(quantizer.dequantize(layer), before)
    assert not layer.support_avx512bf16_for_cpu


def test_gradients_after_an_evaluation_are_right(encoder):
    model, plain = build("bnb-nf4", encoder), oracle("bnb-nf4", encoder)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        model(input_ids=ids)
    gradients = []
    for each in (model, plain):
        embedded = each.get_input_embeddings()(ids).detach().requires_grad_()
        each(inputs_embeds=embedded).logits[0, 0].backward()
        gradients.append(embedded.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["bnb-nf4", "bnb-nf4[double_quant=true]", "bnb-fp4"])
def test_codes_decode_by_their_table(name, encoder):
    """An independent decoder: high nibble first, absmax per 64, nested absmax per 256."""
    quantizer = get(name)
    layer = build(name, encoder).bert.encoder.layer[0].output.dense
    parts = quantizer.weight_tensors(layer)
    bytes_ = parts["weight"].reshape(-1).long()
    values = parts["code"][torch.stack([bytes_ >> 4, bytes_ & 15], dim=1).reshape(-1)].reshape(-1, 64)
    scale = parts["absmax"]
    if "nested_absmax" in parts:
        blocks = parts["nested_absmax"].repeat_interleave(256)[: len(scale)]
        scale = parts["nested_code"][scale.long()] * blocks + parts["offset"]
    expected = (values * scale[:, None]).reshape(layer.out_features, layer.in_features)
    torch.testing.assert_close(quantizer.dequantize(layer), expected, rtol=1e-6, atol=0)


def test_double_quantization_takes_fewer_bytes_and_both_count_their_scales(encoder, probe):
    single = quantize(get("bnb-nf4"), encoder, probe=probe).report
    double = quantize(get("bnb-nf4[double_quant=true]"), encoder, probe=probe).report
    layers = 3 * (4 * 64 * 64 + 2 * 64 * 128)
    assert single.effective_bits > 4.5  # 4 bits, a float32 per 64 weights, and the code table
    assert single.resident_bytes - layers / 2 - layers / 64 * 4 > 0
    assert double.effective_bits != single.effective_bits


def test_int8_weights_are_codes_times_the_row_scale(encoder):
    quantizer, model, plain = get("bnb-int8"), build("bnb-int8", encoder), encoder.load()
    name = "bert.encoder.layer.1.intermediate.dense"
    weight, expected = quantizer.dequantize(model.get_submodule(name)), plain.get_submodule(name).weight
    step = expected.abs().amax(dim=1, keepdim=True) / 127
    # Half a step, and float16 rounding of the weight before it.
    assert ((weight - expected).abs() <= 0.51 * step + expected.abs() * 2**-11).all()


def test_int8_scales_are_found_before_and_after_a_forward(encoder, probe):
    quantizer, model = get("bnb-int8"), build("bnb-int8", encoder)
    layer = model.bert.encoder.layer[0].output.dense
    before = quantizer.dequantize(layer).clone()
    probe_logits(model, probe)
    assert torch.equal(quantizer.dequantize(layer), before)


def test_int8_without_threshold_does_not_depend_on_the_batch(encoder):
    model = build("bnb-int8", encoder)
    rows = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16], [17, 18, 19, 20, 21, 22], [3, 2, 1, 4, 6, 8]]
    together, alone = batch_logits(model, rows), torch.cat([batch_logits(model, [row]) for row in rows])
    plain = encoder.load()
    noise = (batch_logits(plain, rows) - torch.cat([batch_logits(plain, [row]) for row in rows])).abs().max()
    # A float32 product may differ in its last bit with the batch, and may then round to the
    # neighbouring activation code; it stays far below what a threshold does.
    assert (together - alone).abs().max() <= max(1e-2, 10 * float(noise))
    assert not get("bnb-int8").batch_dependent
    assert get("bnb-int8[threshold=6]").batch_dependent


def test_an_int8_layer_treats_rows_one_by_one(encoder):
    layer = build("bnb-int8", encoder).bert.encoder.layer[0].output.dense
    x = torch.randn(6, 128, generator=torch.Generator().manual_seed(0))
    x[2, 5] = 40.0  # an outlier
    assert torch.equal(layer(x), torch.cat([layer(row[None]) for row in x]))


def test_a_threshold_makes_an_int8_layer_depend_on_its_batch(encoder):
    layer = build("bnb-int8[threshold=6]", encoder).bert.encoder.layer[0].output.dense
    x = torch.randn(6, 128, generator=torch.Generator().manual_seed(0))
    x[2, 5] = 40.0
    assert not torch.equal(layer(x)[0], layer(x[:1])[0])


def test_layers_are_in_evaluation_mode(source):
    for name in ("bnb-int8", "bnb-nf4"):
        assert not any(module.training for module in build(name, source).modules())


def test_heads_and_the_tied_output_layer_stay_float(encoder, decoder):
    assert type(build("bnb-nf4", encoder).classifier) is nn.Linear
    assert type(build("bnb-nf4", encoder).bert.pooler.dense) is nn.Linear
    model = build("bnb-nf4[skip=q_proj]", decoder)
    assert type(model.lm_head) is nn.Linear
    assert type(model.model.layers[0].self_attn.q_proj) is nn.Linear
    assert type(model.model.layers[0].self_attn.k_proj) is not nn.Linear


def test_a_head_whose_width_is_no_multiple_of_32_can_be_quantized(encoder, probe):
    report = quantize(get("bnb-nf4[include=classifier]"), encoder, probe=probe).report
    assert report.modules["classifier"] == "nf4"


def test_the_cast_notice_of_every_call_is_silenced_and_no_other(encoder, probe, caplog):
    import logging

    model = build("bnb-int8", encoder)
    with caplog.at_level(logging.WARNING):
        probe_logits(model, probe)
        assert not caplog.records
        logging.getLogger("bitsandbytes.autograd._functions").warning("something else")
    assert [record.message for record in caplog.records] == ["something else"]


def test_building_twice_gives_the_same_bits(encoder, probe):
    first, second = (quantize(get("bnb-nf4"), encoder, probe=probe).report for _ in range(2))
    assert first.tensors_hash == second.tensors_hash


def test_a_copy_of_a_quantized_model_answers_alike(encoder, probe):
    model = build("bnb-nf4", encoder)
    # Only the last bit: the original's float layers are memory-mapped, the copy's are aligned.
    difference = probe_logits(copy.deepcopy(model), probe) - probe_logits(model, probe)
    assert difference.abs().max() < 1e-5
