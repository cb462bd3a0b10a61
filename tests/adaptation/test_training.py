"""Adapters are trained over a frozen base, and an interruption changes nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from calbench import quantizers
from calbench.adaptation import Recipe, StoredAdapter, attach, set_adapter, train
from calbench.adaptation._lora import adapter_parameters, adapter_state, base_hash
from calbench.errors import CorruptRecordError, InputError, TrainingError
from calbench.inference import score
from calbench.models import quiet
from tests.adaptation.conftest import student_of

RECIPE = Recipe(
    rank=4, epochs=3, batch_size=8, learning_rate=1e-2, evaluations=3, patience=3, checkpoint_every=4
)
IDENTITY = {"name": "test"}


def run(student, data, folder, recipe=RECIPE, quantizer="bnb-nf4", **options):
    return train(
        student, quantizers.get(quantizer), data, recipe, folder=folder, identity=IDENTITY, **options
    )


def stop_after(n):
    def on_step(step, note):
        if step == n:
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize("quantizer", ["fp32", "bf16", "bnb-int8", "bnb-nf4", "bnb-nf4[double_quant=true]"])
def test_the_base_stays_what_it_was_while_the_adapter_learns(source, data, tmp_path, quantizer):
    student, method = student_of(source, quantizer), quantizers.get(quantizer)
    plain = quantizers.model_tensors(student.module, method, method.describe(student.module))
    before = {name: tensor.clone() for name, tensor in plain.items()}
    stored = run(student, data, tmp_path / "a", quantizer=quantizer)
    after = quantizers.model_tensors(student.module, method, method.describe(student.module))
    for name, tensor in before.items():
        kept = after.get(name, after.get(_under_an_adapter(name)))
        assert torch.equal(kept, tensor), name
    losses = stored.history["losses"]
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.05
    assert all(t.abs().max() > 0 for name, t in stored.state().items() if "lora_B" in name)


def _under_an_adapter(name):
    layer, _, tensor = name.rpartition(".")
    return f"{layer}.base_layer.{tensor}"


def test_adapters_are_kept_in_the_compute_type(source, data, tmp_path):
    student = student_of(source, "bnb-nf4[compute_dtype=bfloat16]")
    short = dataclasses.replace(RECIPE, epochs=1)
    stored = run(student, data, tmp_path / "a", short, "bnb-nf4[compute_dtype=bfloat16]")
    assert {tensor.dtype for tensor in stored.state().values()} == {torch.bfloat16}


def test_interrupted_and_resumed_gives_the_same_adapter(source, data, tmp_path):
    recipe = dataclasses.replace(RECIPE, dropout=0.2)
    whole = run(student_of(source, "bnb-nf4"), data, tmp_path / "whole", recipe)
    for stop in (7, 11):  # steps 4 and 8 were the last checkpoints
        with pytest.raises(KeyboardInterrupt):
            run(student_of(source, "bnb-nf4"), data, tmp_path / "again", recipe, on_step=stop_after(stop))
    seen = []
    resumed = run(
        student_of(source, "bnb-nf4"),
        data,
        tmp_path / "again",
        recipe,
        on_step=lambda step, note: seen.append(step),
    )
    assert seen[0] == 9
    assert resumed.tensors_hash == whole.tensors_hash
    for part in ("losses", "looks", "kept_step"):
        assert resumed.history[part] == whole.history[part]
    assert not (tmp_path / "again.training").exists()


def test_another_seed_gives_another_adapter(source, data, tmp_path):
    hashes = {
        run(
            student_of(source, "fp32"), data, tmp_path / str(seed), dataclasses.replace(RECIPE, seed=seed)
        ).tensors_hash
        for seed in (1, 2)
    }
    assert len(hashes) == 2


def test_torchs_own_generator_is_left_alone(source, data, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    run(student_of(source, "fp32"), data, tmp_path / "a", quantizer="fp32")
    assert torch.equal(torch.rand(1), expected)


def test_a_trained_adapter_is_not_trained_again(source, data, tmp_path):
    first = run(student_of(source, "fp32"), data, tmp_path / "a", quantizer="fp32")
    second = run(student_of(source, "fp32"), data, tmp_path / "a", quantizer="fp32", on_step=stop_after(1))
    assert second == first


@pytest.mark.parametrize("quantizer", ["fp32", "bnb-nf4[compute_dtype=bfloat16]"])
def test_a_model_carries_an_adapter_that_was_trained_before(quantizer, source, data, tmp_path):
    trained, fresh = student_of(source, quantizer), student_of(source, quantizer)
    for student in (trained, fresh, fresh):  # what has the adapter already keeps it
        run(student, data, tmp_path / "a", quantizer=quantizer)
    answers = [
        score(s.module, s.tokenizer, s.source, s.request, data.watched).logits for s in (trained, fresh)
    ]
    np.testing.assert_array_equal(*answers)


def test_a_stored_adapter_answers_as_the_trained_model_did(source, data, tmp_path):
    trained, fresh = student_of(source, "bnb-nf4"), student_of(source, "bnb-nf4")
    stored = run(trained, data, tmp_path / "a")
    attach(fresh.module, RECIPE)
    set_adapter(fresh.module, stored.state())
    answers = [
        score(s.module, s.tokenizer, s.source, s.request, data.watched).logits for s in (trained, fresh)
    ]
    np.testing.assert_array_equal(*answers)


def test_peft_reads_the_stored_adapter(source, data, tmp_path):
    from peft import PeftModel

    student = student_of(source, "fp32")
    stored = run(student, data, tmp_path / "a", quantizer="fp32")
    with quiet():
        other = PeftModel.from_pretrained(source.load(), stored.folder).eval()
    ids = torch.tensor([[4, 5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(other(input_ids=ids).logits, student.module(input_ids=ids).logits)


def test_training_stops_early_and_keeps_the_best_look(source, data, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=30, learning_rate=5e-2, evaluations=30, patience=2)
    stored = run(student_of(source, "fp32"), data, tmp_path / "a", recipe, "fp32")
    looks = stored.history["looks"]
    assert len(looks) < 30
    best = min(looks, key=lambda look: look[1])
    assert stored.history["kept_step"] == best[0] == looks[-3][0]
    assert len(stored.history["losses"]) == looks[-1][0]


def test_a_nan_loss_stops_says_where_and_keeps_the_last_good_adapter(source, data, tmp_path):
    student = student_of(source, "fp32")

    def poison(step, note):
        if step == 5:
            next(iter(adapter_parameters(student.module).values())).data[:] = torch.nan

    with pytest.raises(TrainingError, match=r"is nan at step 6 of 18 \(epoch 1\), reading 'i\d+'") as caught:
        run(student, data, tmp_path / "a", quantizer="fp32", on_step=poison)
    kept = tmp_path / "a.stopped-at-6"
    assert str(kept) in str(caught.value)
    state = StoredAdapter.read(kept, {**IDENTITY, "stopped_at": 6}).state()
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert any(tensor.abs().max() > 0 for name, tensor in state.items() if "lora_B" in name)
    assert not (tmp_path / "a").exists()


def test_an_infinite_gradient_stops_the_training(source, data, tmp_path):
    student = student_of(source, "fp32")
    recipe = dataclasses.replace(RECIPE, learning_rate=1e20, epochs=1)
    with pytest.raises(TrainingError, match="stopped: "):
        run(student, data, tmp_path / "a", recipe, "fp32")


def test_targets_that_match_nothing_name_candidates(source):
    student = student_of(source, "bnb-nf4")
    near = {"e": "query", "d": "q_proj"}[source.id]
    with pytest.raises(InputError, match=f"no LoRA target is called .*did you mean .*{near}"):
        attach(student.module, Recipe(targets=(near[:-1],)))


def test_targets_choose_layers(source):
    student = student_of(source, "bnb-nf4")
    near = {"e": "query", "d": "q_proj"}[source.id]
    layers = attach(student.module, Recipe(targets=(near,)))
    assert len(layers) == 2
    assert all(name.endswith(near) for name in layers)


def test_a_model_whose_quantized_layers_carry_no_adapter_is_refused(source):
    module = torch.nn.Sequential(torch.nn.Embedding(3, 4))
    with pytest.raises(InputError, match="no layer of Sequential can carry a LoRA adapter"):
        attach(module, Recipe())


def test_adapters_of_another_shape_are_refused(source):
    modules = [student_of(source, "fp32").module for _ in range(2)]
    for module, rank in zip(modules, (2, 4), strict=True):
        attach(module, Recipe(rank=rank))
    with pytest.raises(InputError, match="has the shape"):
        set_adapter(modules[0], adapter_state(modules[1]))
    with pytest.raises(InputError, match="not one of this model"):
        set_adapter(modules[0], {})


def test_a_stored_adapter_that_was_tampered_with_is_refused(source, data, tmp_path):
    stored = run(student_of(source, "fp32"), data, tmp_path / "a", quantizer="fp32")
    history = json.loads((stored.folder / "training.json").read_text())
    (stored.folder / "training.json").write_text(json.dumps({**history, "kept_step": 1}))
    with pytest.raises(CorruptRecordError, match=r"training\.json does not match"):
        StoredAdapter.read(stored.folder, IDENTITY)


def test_the_base_hash_sees_scales_and_weights(source):
    student, method = student_of(source, "bnb-nf4"), quantizers.get("bnb-nf4")
    attach(student.module, RECIPE)
    before = base_hash(student.module, method)
    adapter_parameters(student.module)[next(iter(adapter_parameters(student.module)))].data += 1
    assert base_hash(student.module, method) == before
    layer = student.module.get_submodule(next(iter(method.describe(student.module))))
    layer.weight.quant_state.absmax[0] *= 1.5
    assert base_hash(student.module, method) != before


def test_progress_tells_step_and_loss(source, data, tmp_path):
    seen = []
    run(
        student_of(source, "fp32"), data, tmp_path / "a", on_step=lambda step, note: seen.append((step, note))
    )
    assert [step for step, _ in seen] == list(range(1, 19))
    assert all(note.startswith(("loss 0.", "loss 1.")) for _, note in seen[6:])


def test_a_model_on_another_device_is_not_trained(encoder, data, tmp_path):
    student = student_of(encoder, "fp32")
    student.module.to("meta")
    with pytest.raises(InputError, match="on 'meta'"):
        train(student, quantizers.get("fp32"), data, Recipe(), folder=tmp_path / "a", identity={})
    assert not (tmp_path / "a").exists()
