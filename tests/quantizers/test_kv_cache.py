"""``kv=``: rounded keys and values, weights untouched."""

import pytest

pytest.importorskip("torch", reason="quantizers need torch")

import torch

from calbench import models, tasks
from calbench.errors import InputError
from calbench.quantizers import arguments, get, quantize
from calbench.quantizers._kv_cache import round_states
from calbench.quantizers._tiny import random_samples

KINDS = ("int8", "fp8", "int4")


def logits(model, ids, **options):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), **options).logits[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", ["fp32", "fp8-e4m3"])
def test_weights_stay_bit_identical_and_the_report_says_what_was_rounded(weights, kind, decoder, probe):
    plain = quantize(get(weights), decoder, probe=probe)
    report = quantize(get(f"{weights}[kv={kind}]"), decoder, probe=probe).report
    assert report.tensors_hash == plain.report.tensors_hash
    assert report.quantizer == f"{weights}[kv={kind}]"
    assert f"keys and values rounded to {kind}" in report.kernel
    assert report.proof.kl_divergence > 0


def test_fewer_bits_change_long_prompts_more_and_eight_hardly_any(decoder):
    long = random_samples(1, seed=3).token_ids[0] * 5
    reference = logits(decoder.load(), long).log_softmax(-1)
    kl = {}
    for kind in KINDS:
        changed = logits(get(f"fp32[kv={kind}]").build(decoder, samples=None, seed=0), long).log_softmax(-1)
        kl[kind] = float((reference.exp() * (reference - changed)).sum(-1).mean())
    assert kl["int8"] < kl["fp8"] < kl["int4"]
    assert kl["int8"] < 1e-3
    assert kl["int4"] > 10 * kl["int8"]


@pytest.mark.embedded
def test_eight_bits_stay_within_the_kl_that_the_docs_state_and_four_do_not():
    """docs/quantizers.md: a mean of at most 2e-3 nat over the positions of 256 tokens.

    Three such texts gave .0010, .0008 and .0008; twice that is for CPUs whose sums round a state to its
    other neighbour.
    """
    source = models.get("smollm2").resolve()
    text = " ".join(item.text for item in tasks.get("movie").dataset.items[:40])
    long = source.load_tokenizer()(text)["input_ids"][:256]
    plain = source.load()
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    reference = logits(plain, long).log_softmax(-1)
    kl = {}
    for kind in ("int8", "int4"):
        rounded = get(f"fp32[kv={kind}]").build(source, samples=None, seed=0)
        changed = logits(rounded, long).log_softmax(-1)
        kl[kind] = float((reference.exp() * (reference - changed)).sum(-1).mean())
        assert all(torch.equal(before[name], tensor) for name, tensor in rounded.state_dict().items())
    assert 0 < kl["int8"] <= 2e-3
    assert kl["int4"] > 20 * kl["int8"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_that_grows_token_by_token_gives_what_one_pass_gives(kind, decoder):
    model = get(f"fp32[kv={kind}]").build(decoder, samples=None, seed=0)
    ids = random_samples(1, seed=3).token_ids[0]
    whole, cache, rows = logits(model, ids, use_cache=False), None, []
    for token in ids:
        with torch.inference_mode():
            step = model(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        rows.append(step.logits[0, -1])
    # A sum in another order may round a state to its other neighbour, once in a while.
    rounding = (whole - logits(decoder.load(), ids)).norm()
    assert (torch.stack(rows) - whole).norm() < 0.5 * rounding


@pytest.mark.parametrize("kind", KINDS)
def test_each_token_and_head_is_rounded_by_itself(kind):
    states = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0))
    states[0, 0, 0] *= 1e4
    found = round_states(states, kind)
    assert torch.equal(found[1:, 1:], round_states(states[1:, 1:], kind))
    distinct = found.flatten(0, 2).sort(dim=1).values.diff(dim=1).count_nonzero(dim=1) + 1
    assert int(distinct.max()) <= {"int8": 255, "fp8": 253, "int4": 16}[kind]
    step = {"int8": 1 / 254, "fp8": 1 / 16, "int4": 1 / 15}[kind]
    error = (found - states).abs().amax(dim=-1) / states.abs().amax(dim=-1)
    assert 0 < float(error.max()) <= step * 1.0001


def test_states_of_zero_stay_zero():
    for kind in KINDS:
        assert round_states(torch.zeros(1, 1, 2, 8), kind).abs().max() == 0


def test_a_checkpoint_of_the_weights_is_reloaded_with_the_rounding(decoder, samples, probe, tmp_path):
    options = {"samples": samples, "probe": probe, "checkpoint_dir": tmp_path}
    first = quantize(get("gptq-int4[kv=int4]"), decoder, **options)
    again = quantize(get("gptq-int4[kv=int4]"), decoder, **options)
    assert again.report.from_checkpoint
    assert again.report.proof == first.report.proof


def test_kv_is_part_of_the_id_and_of_the_arguments():
    assert get("bnb-nf4[skip=key,kv=int8]").id == "bnb-nf4[kv=int8,skip=key]"
    assert arguments("fp32[kv=int4]") == {"kv": "int4"}
    assert "kv" not in arguments("fp32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fp32[kv=int3]", "'int3' is not one of int8, fp8, int4"),
        ("fp32[kv=int8]", "BertForSequenceClassification is no decoder and keeps no cache; leave kv out"),
    ],
)
def test_what_cannot_be_rounded_is_refused(name, message, encoder):
    with pytest.raises(InputError, match=message):
        get(name).targets(encoder.skeleton())


def test_a_model_whose_states_are_rounded_need_not_agree_with_itself_to_the_last_digit(decoder):
    from calbench.inference._agreement import agree

    own, found = torch.tensor([14.0, 13.0]), torch.tensor([14.5, 13.2])
    assert agree(get("fp32[kv=int4]").build(decoder, samples=None, seed=0), found, own)
    assert not agree(decoder.load(), found, own)
