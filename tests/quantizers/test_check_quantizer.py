"""``check_quantizer`` passes our own backends, and catches each rule broken on purpose."""

import pytest

pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")

import bitsandbytes
import torch

from calbench import quantizers
from calbench.quantizers._bnb import FourBit
from calbench.testing import check_quantizer

ENCODER = ("sequence-classification",)


@pytest.mark.parametrize("name", ["bf16", "bnb-int8", "bnb-nf4[compute_dtype=bfloat16]", "gptq-int4"])
def test_built_in_quantizers_keep_the_rules(name):
    check_quantizer(name)


def test_an_optional_backend_keeps_the_rules():
    pytest.importorskip("hqq", reason="hqq quantizers need hqq")
    check_quantizer("hqq-int4")


def layers(model):
    return [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]


def returns_the_model_unchanged(self, source, *, samples, seed):
    return source.load()


def draws_at_random(self, source, *, samples, seed):
    model = FourBit.build(self, source, samples=samples, seed=seed)
    with torch.no_grad():
        layers(model)[0].weight.quant_state.absmax *= 1 + 0.01 * torch.rand(1).item()
    return model


def drifts_as_it_runs(self, source, *, samples, seed):
    model = FourBit.build(self, source, samples=samples, seed=seed)

    def drift(module, inputs):
        module.bias.data += 1e-6

    layers(model)[0].register_forward_pre_hook(drift)
    return model


def looks_at_its_batch(self, source, *, samples, seed):
    model = FourBit.build(self, source, samples=samples, seed=seed)

    def blend(module, inputs, output):
        return output + output.mean() - output.mean(dim=(1, 2), keepdim=True)  # alone, an item is as it is

    layers(model)[0].register_forward_hook(blend)
    return model


def writes_into_the_source(self, source, *, samples, seed):
    config = source.folder / "config.json"
    config.write_text(config.read_text() + "\n")
    return FourBit.build(self, source, samples=samples, seed=seed)


def lies_about_its_weights(self, module):
    # Still on the grid, and different from the reference; but not what the layer computes with.
    return FourBit.dequantize(self, module) * 0.5


def forgets_the_codes(self, module):
    return {"absmax": FourBit.weight_tensors(self, module)["absmax"]}


def saves_nothing(self, model, folder):
    pass


def saves_a_pickle(self, model, folder):
    torch.save({}, folder / "weights.pt")


def saves_something(self, model, folder):
    (folder / "weights.safetensors").write_bytes(b"x")


def loads_another_model(self, source, folder):
    model = FourBit.build(self, source, samples=None, seed=0)
    layers(model)[0].weight.quant_state.absmax *= 1.01
    return model


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"build": returns_the_model_unchanged},
            r"does not prove itself.*12 of 12 layers are still float: bert",
        ),
        ({"build": draws_at_random}, "building twice"),
        ({"build": drifts_as_it_runs}, "running the model changed its tensors"),
        ({"build": looks_at_its_batch}, "other items of its batch; declare batch_dependent"),
        ({"build": writes_into_the_source}, "wrote into the source's folder"),
        ({"dequantize": lies_about_its_weights}, "do not explain the model's logits"),
        ({"weight_tensors": forgets_the_codes}, r"holds 0\.50 bits per weight, fewer than the 4"),
        ({"save": saves_nothing, "load": loads_another_model}, "save.. wrote nothing"),
        ({"save": saves_a_pickle, "load": loads_another_model}, "wrote weights.pt; use safetensors"),
        ({"save": saves_something, "load": loads_another_model}, "not bit-identical to the one that save"),
        ({"epsilon": 3}, "epsilon is 3"),
        ({"epsilon": 1e-4}, r"epsilon is 0\.0001, and weights moved by 0\.1\d of the largest"),
        ({"n_samples": -1}, "n_samples is -1"),
        ({"batch_dependent": "no"}, "batch_dependent is 'no'"),
        ({"packages": "bitsandbytes"}, "packages is 'bitsandbytes'"),
        ({"kernel": ""}, "kernel is empty"),
    ],
)
def test_a_broken_rule_is_named(members, message):
    broken = type("Broken", (FourBit,), members)("broken", code="nf4")
    with pytest.raises(AssertionError, match=message):
        check_quantizer(broken, architectures=ENCODER)


@pytest.mark.parametrize("left_out", ["scale", "codes"])
def test_a_tensor_that_is_not_listed_is_named(left_out):
    int8 = type(quantizers.get("int8"))

    def lists_all_but_one(self, module):
        tensors = int8.weight_tensors(self, module)
        (name,) = (name for name in tensors if left_out in name)
        return {other: values for other, values in tensors.items() if other != name}

    broken = type("Broken", (int8,), {"weight_tensors": lists_all_but_one})("broken")
    with pytest.raises(
        AssertionError, match=f"leaves out the tensor '.*{left_out}.*' of bert|fewer than the 8"
    ):
        check_quantizer(broken, architectures=ENCODER)


@pytest.mark.parametrize("epsilon", [1e-4, 0.2])
def test_a_unit_error_that_is_far_from_what_was_rounded_is_refused(epsilon):
    broken = type("Broken", (type(quantizers.get("int8")),), {"epsilon": epsilon})("broken")
    with pytest.raises(AssertionError, match=r"and weights moved by 0\.0039 of the largest"):
        check_quantizer(broken, architectures=ENCODER)


def test_an_argument_that_fits_no_tiny_model_is_said_to_be_the_reason():
    with pytest.raises(AssertionError, match="arguments must fit a tiny encoder and a tiny decoder"):
        check_quantizer("int8[skip=nothing]")
