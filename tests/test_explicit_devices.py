"""Every tensor is made on a device that the code names: what would break on a GPU is found without one.

While calbench works, torch's default device is ``meta``, whose tensors hold nothing, and the models are
on the CPU: a tensor that is made without a device meets them, and fails. What other libraries make is kept
outside. A tensor that is left on the CPU on purpose, and should have been moved, is not found so.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")
pytest.importorskip("hqq", reason="hqq quantizers need hqq")
pytest.importorskip("peft", reason="adapters need peft")

import bitsandbytes
import peft
import torch
import transformers

from calbench import quantizers
from calbench.adaptation import Distillation, Recipe, Student, Teacher, TrainingData, merged_source, train
from calbench.inference import generate, score
from calbench.models import ModelSource
from calbench.quantizers._tiny import random_samples, write_tiny
from calbench.tasks import (
    ChoiceRequest,
    ClassificationRequest,
    GenerationRequest,
    Item,
    OpenQuestion,
    Question,
)

PROMPT = "Text: {text} Sentiment:"
HEAD = ClassificationRequest("head", columns=(0, 1))
WORDS = ClassificationRequest("label-words", PROMPT, ("negative", "positive"))
CHOICES = ChoiceRequest("mean-per-byte", "Text: {question} Sentiment:")
SHARED = dataclasses.replace(CHOICES, preamble=" ".join(f"w{n}" for n in range(20)) + "\n\n")
ITEMS = [Item(f"i{n}", f"w{n} w{n + 7}" + " w3" * (n % 3), n % 2) for n in range(12)]
QUESTIONS = [Question(f"q{n}", f"w{n} w5", ("w1 w2", "w3", "w4")[: 2 + n % 2], n % 2) for n in range(12)]
OPEN = [OpenQuestion(f"o{n}", f"w{n} w{n + 1}", ("w1",)) for n in range(3)]


def on_the_cpu(patch, owner, name):
    """Let a library's own function make its tensors where it does without us."""
    whole = getattr(owner, name)

    def inside(*arguments, **options):
        with torch.device("cpu"):
            return whole(*arguments, **options)

    patch.setattr(owner, name, inside)


@pytest.fixture
def meta(monkeypatch):
    """The default device while calbench works."""
    on_the_cpu(monkeypatch, ModelSource, "load")  # transformers refuses to load under another default
    on_the_cpu(monkeypatch, bitsandbytes.functional, "quantize_4bit")  # its code tables, which it moves
    on_the_cpu(monkeypatch, peft, "inject_adapter_in_model")  # its layers, which it moves
    on_the_cpu(monkeypatch, torch.optim.AdamW, "step")  # its counter of steps
    return torch.device("meta")


@pytest.fixture
def encoder(tiny_encoder):
    return ModelSource("e", "sequence-classification", str(tiny_encoder), max_length=64)


@pytest.fixture
def decoder(tiny_decoder):
    return ModelSource("d", "causal-lm", str(tiny_decoder), max_length=120)


def test_the_default_device_catches_a_tensor_without_one(meta):
    with meta, pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        (torch.ones(2, device="cpu") + torch.tensor([1.0, 2.0])).tolist()


@pytest.mark.parametrize(
    ("kind", "asked", "items"),
    [
        ("encoder", HEAD, ITEMS),
        ("decoder", WORDS, ITEMS),
        ("decoder", CHOICES, QUESTIONS),
        ("decoder", SHARED, QUESTIONS),
    ],
    ids=["head", "label-words", "trees", "shared-prefix"],
)
def test_scoring(kind, asked, items, meta, request):
    source = request.getfixturevalue(kind)
    model, tokenizer = source.load(), source.load_tokenizer()
    plain = score(model, tokenizer, source, asked, items).logits
    with meta:
        np.testing.assert_array_equal(score(model, tokenizer, source, asked, items).logits, plain)


def test_scoring_one_option_per_row(decoder, meta):
    plain = decoder.load()
    config = transformers.MistralConfig(**{**plain.config.to_dict(), "sliding_window": 4})
    model = transformers.MistralForCausalLM(config).eval()
    with meta:
        found = score(model, decoder.load_tokenizer(), decoder, CHOICES, QUESTIONS)
    assert found.engine == "one option per row"


@pytest.mark.parametrize("confidence", ["sequence", "p-true", "self-report"])
def test_generation(confidence, meta, tmp_path):
    from tests.tiny_models import write_decoder

    folder = write_decoder(tmp_path / "m", more_words=("true", "false"))
    source = ModelSource("d", "causal-lm", str(folder), max_length=120)
    asked = GenerationRequest("Text: {question} Sentiment:", max_new_tokens=3, confidence=confidence)
    model, tokenizer = source.load(), source.load_tokenizer()
    with meta:
        assert len(generate(model, tokenizer, source, asked, OPEN).answers) == len(OPEN)


@pytest.mark.parametrize("architecture", ["sequence-classification", "causal-lm"])
@pytest.mark.parametrize(
    "quantizer",
    [
        "fp32",
        "bf16",
        "bnb-int8",
        "bnb-nf4[double_quant=true]",
        "gptq-int3[n_samples=8]",
        "gptq-int4[act_order=false,n_samples=8,sym=false]",
        "hqq-int4",
    ],
)
def test_a_quantizer_builds_reloads_and_proves(quantizer, architecture, meta, tmp_path):
    source = write_tiny(architecture, tmp_path / "model")
    method, samples, probe = quantizers.get(quantizer), random_samples(8), random_samples(4, seed=1).token_ids
    found = []
    for _ in range(2):  # the second time from a checkpoint, if there are such
        with meta:
            made = quantizers.quantize(
                method, source, samples=samples, probe=probe, checkpoint_dir=tmp_path / "kept"
            )
        found.append(made.report.tensors_hash)
    plain = quantizers.quantize(method, source, samples=samples, probe=probe)
    assert set(found) == {plain.report.tensors_hash}


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_training_is_interrupted_resumed_and_merged(kind, meta, request, tmp_path):
    source, asked = request.getfixturevalue(kind), HEAD if kind == "encoder" else WORDS
    recipe = Recipe(rank=2, epochs=2, batch_size=4, dropout=0.1, evaluations=2, checkpoint_every=2)
    data = TrainingData.of(ITEMS, calibration=[Item("c", "w1 w2 w3 w4", 0)], test=[])

    def run(on_step=lambda step, note: None):
        student = Student(source.load(), source.load_tokenizer(), source, asked)
        with meta:
            return train(
                student,
                quantizers.get("fp32"),
                data,
                recipe,
                folder=tmp_path / "a",
                identity={},
                on_step=on_step,
            )

    with pytest.raises(KeyboardInterrupt):
        run(_stop_at_3)
    stored = run()
    assert stored.history["n_steps"] == 6
    with meta:
        merged_source(source, stored, recipe, parent=tmp_path / "merged", identity={})


def _stop_at_3(step, note):
    if step == 3:
        raise KeyboardInterrupt


@pytest.mark.parametrize("level", ["answer", "sequence", "choices"])
def test_distillation(level, decoder, meta, tmp_path):
    items, asked = (QUESTIONS, CHOICES) if level == "choices" else (ITEMS, WORDS)
    students = [Student(decoder.load(), decoder.load_tokenizer(), decoder, asked) for _ in range(2)]
    teacher = Teacher(model=students[1])
    if level != "sequence":
        answers = score(students[1].module, students[1].tokenizer, decoder, asked, items).logits
        teacher = Teacher(logits=answers)
    recipe = Recipe(rank=2, epochs=1, batch_size=4, evaluations=1)
    taught = Distillation(level="sequence" if level == "sequence" else "answer")
    watched = dataclasses.replace(items[0], id="c", text="w9 w8 w7 w6")
    with meta:
        stored = train(
            students[0],
            quantizers.get("fp32"),
            TrainingData.of(items, calibration=[watched], test=[]),
            dataclasses.replace(recipe, distillation=taught),
            folder=tmp_path / "a",
            identity={},
            teacher=teacher,
        )
    assert stored.history["n_steps"] == 3
