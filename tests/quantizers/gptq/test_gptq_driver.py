import pytest

pytest.importorskip("transformers", reason="quantizers need transformers")

import torch

from calbench.errors import InputError, QuantizationError
from calbench.quantizers import QuantizationSamples, get, probe_logits
from calbench.quantizers._selection import blocks, select
from calbench.quantizers.gptq._driver import Settings, quantize_model
from calbench.quantizers.gptq._hessians import Collector
from calbench.quantizers.gptq._packed import PackedLinear
from calbench.quantizers.gptq._solver import Grid, round_to_nearest, solve

ROUNDING = {"group_size": 64, "symmetric": True, "act_order": False, "damp": 0.01}


def quantized(source, samples, *, targets=None, bits=4, **rounding):
    model = source.load()
    widths = dict.fromkeys(targets or select(model), bits)
    quantize_model(model, samples, Settings(widths, **ROUNDING | rounding))
    return model


def inputs_of(model, name, rows):
    """What a layer reads, text by text: no padding anywhere."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda _, x: seen.append(x[0].flatten(0, -2))
    )
    probe_logits(model, rows)
    handle.remove()
    return torch.cat(seen).clone()


def test_every_layer_beats_rounding_to_nearest_on_its_own_inputs(source, samples):
    """The inputs are those that the layer sees in the quantized model, without padding."""
    plain = source.load()
    names = select(plain)
    for name in names:
        # Quantize this layer alone, so that its inputs are the reference's.
        model = quantized(source, samples, targets=[name])
        x, weight = inputs_of(plain, name, samples.token_ids), plain.get_submodule(name).weight.detach()
        nearest = round_to_nearest(weight, Grid(4, 64, symmetric=True)).dequantize()
        ours = model.get_submodule(name).dequantize()
        assert ((weight - ours) @ x.T).norm() < ((weight - nearest) @ x.T).norm(), name


def test_padding_is_left_out_of_the_hessian(source, samples):
    """One layer, solved by hand on unpadded texts, is what the padded driver gives."""
    plain = source.load()
    name = select(plain)[-1]
    model = quantized(source, samples, targets=[name])
    x, weight = inputs_of(plain, name, samples.token_ids), plain.get_submodule(name).weight.detach()
    by_hand = solve(weight, x.T @ x / len(x), Grid(4, 64, symmetric=True)).dequantize()
    same = (model.get_submodule(name).dequantize() == by_hand).float().mean()
    # Padded batches sum in another order; with padding counted in, a third of the codes differ.
    assert same > 0.98


def test_later_blocks_see_quantized_inputs(source, samples):
    """The last block is rounded for what the quantized blocks before it give, not the reference's."""
    plain = source.load()
    names = select(plain)
    whole, alone = quantized(source, samples), quantized(source, samples, targets=[names[-1]])
    ours, other = (m.get_submodule(names[-1]).dequantize() for m in (whole, alone))
    assert not torch.equal(ours, other)
    x, weight = inputs_of(whole, names[-1], samples.token_ids), plain.get_submodule(names[-1]).weight.detach()
    assert ((weight - ours) @ x.T).norm() < ((weight - other) @ x.T).norm()


def test_layers_with_one_input_share_a_hessian(source):
    model = source.load()
    names = [name for name in select(model) if ".0." in name]
    collector = Collector({name: model.get_submodule(name) for name in names})
    with collector.watching():
        probe_logits(model, [(1, 2, 3), (4, 5)])
    shared = [len(hessian.layers) for hessian in collector.hessians()]
    assert shared == ([3, 1, 1, 1] if source.architecture == "sequence-classification" else [3, 1, 2, 1])
    assert all(hessian.n_tokens == 5 for hessian in collector.hessians())


def test_the_models_forward_is_whole_again(source, samples, probe):
    model = quantized(source, samples)
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert probe_logits(model, probe).isfinite().all()


def test_layers_outside_the_blocks_can_be_quantized(encoder, samples):
    names = ["bert.encoder.layer.0.output.dense", "bert.pooler.dense", "classifier"]
    model = quantized(encoder, samples, targets=names)
    assert [n for n, m in model.named_modules() if isinstance(m, PackedLinear)] == names


@pytest.mark.parametrize(
    ("size", "remedy"), [(48, "use 64 or 32 or 16"), (128, "does not divide the 64 inputs")]
)
def test_a_group_size_that_does_not_divide_is_refused(decoder, samples, size, remedy):
    with pytest.raises(InputError, match=remedy):
        get(f"gptq-int4[group_size={size}]").build(decoder, samples=samples, seed=0)


def test_whole_rows_fit_any_layer(decoder, samples):
    quantizer = get("gptq-int8[group_size=-1]")
    model = quantizer.build(decoder, samples=samples, seed=0)
    assert {f.group_size for f in quantizer.describe(model).values()} == {0}


def test_an_unknown_token_is_refused(decoder):
    with pytest.raises(InputError, match="token id 5000; the model knows 96"):
        quantized(decoder, QuantizationSamples(((5000,),)))


def test_a_layer_that_never_runs_is_named(decoder, samples):
    model = decoder.load()
    model.idle = torch.nn.Linear(64, 64)
    with pytest.raises(QuantizationError, match="idle never ran"):
        quantize_model(model, samples, Settings({"idle": 4}, **ROUNDING))


@pytest.mark.parametrize("act_order", [False, True])
def test_the_same_inputs_give_the_same_bits(source, samples, act_order):
    rounding = {"symmetric": False, "act_order": act_order}
    first, second = (quantized(source, samples, **rounding).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_single_layers_may_have_8_bits(source, samples, tmp_path):
    method = get("gptq-int4[int8=first:1]")
    model = method.build(source, samples=samples, seed=0)
    formats = {name: format_.name for name, format_ in method.describe(model).items()}
    wide = {name for name in formats if ".0." in name}
    assert wide
    assert formats == {name: f"int{8 if name in wide else 4}-g64" for name in formats}
    plain = get("gptq-int4").build(source, samples=samples, seed=0)
    narrow = [name for name in formats if name not in wide]
    assert narrow
    reference = source.load()

    def error(model):
        return sum(
            float(
                (model.get_submodule(n).dequantize() - reference.get_parameter(f"{n}.weight").detach()).norm()
            )
            for n in wide
        )

    assert error(model) < error(plain) / 8
    method.save(model, tmp_path)
    again = method.load(source, tmp_path)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gptq-int8[int8=first:1]", "all codes have 8 bits; leave int8 out"),
        ("gptq-int4[backend=gptqmodel,int8=first:1]", "gptqmodel gives all layers the same bits"),
    ],
)
def test_8_bits_are_refused_where_they_mean_nothing(spec, message):
    with pytest.raises(InputError, match=message):
        get(spec)


def test_8_bits_for_a_layer_that_is_not_quantized_are_refused(source):
    with pytest.raises(InputError, match="'first:1' matches only layers that are not quantized"):
        get("gptq-int4[int8=first:1,skip=first:1]").targets(source.skeleton())


def test_forward_methods_of_a_divided_model_stay(source, samples):
    """A model that is divided over GPUs moves its inputs in a forward method of each block's own."""
    model, plain, n_calls = source.load(), quantized(source, samples), []
    stack = blocks(model)

    def moving(whole):
        def forward(*arguments, **options):
            n_calls.append(1)
            return whole(*arguments, **options)

        return forward

    for block in stack.values():
        block.forward = moving(block.forward)
    quantize_model(model, samples, Settings(dict.fromkeys(select(model), 4), **ROUNDING))
    n_calls.clear()
    found = probe_logits(model, samples.token_ids[:3])
    assert len(n_calls) == 3 * len(stack)
    assert torch.equal(found, probe_logits(plain, samples.token_ids[:3]))
