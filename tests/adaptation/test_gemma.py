"""The architecture of the study that compared PTQ with QLoRA: tiny, random, in a local folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calbench import quantizers
from calbench.adaptation import Distillation, Recipe, Teacher, TrainingData, train
from calbench.adaptation._answers import encode
from calbench.inference import score
from calbench.models import ModelSource
from tests.adaptation.conftest import student_of
from tests.adaptation.test_choices import questions
from tests.adaptation.test_choices import student_of as question_student
from tests.tiny_models import write_tokenizer


@pytest.fixture(scope="module")
def gemma(tmp_path_factory) -> ModelSource:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder: Path = tmp_path_factory.mktemp("models") / "gemma"
    folder.mkdir()
    config = Gemma2Config(
        vocab_size=write_tokenizer(folder),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        initializer_range=0.1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Gemma2ForCausalLM(config).save_pretrained(folder)
    return ModelSource("gemma", "causal-lm", str(folder), max_length=64)


def test_answers_are_read_after_the_soft_cap(gemma, data):
    student = student_of(gemma, "fp32")
    assert student.module.config.final_logit_softcapping
    encoded = encode(student, data.training[:1])
    ids = torch.tensor([encoded.tokens[0]])
    with torch.no_grad():
        own = student.module(input_ids=ids).logits[0, -1, encoded.words]
        torch.testing.assert_close(encoded.answers(student, [0])[0], own)


@pytest.mark.parametrize("level", [None, "answer", "sequence"])
def test_gemma_is_tuned_and_distilled_in_the_quantized_space(gemma, data, tmp_path, level):
    student, reference = student_of(gemma, "bnb-nf4"), student_of(gemma, "fp32")
    teacher = None
    if level == "answer":
        teacher = Teacher(
            logits=score(
                reference.module, reference.tokenizer, gemma, reference.request, data.training
            ).logits
        )
    elif level == "sequence":
        teacher = Teacher(model=reference)
    recipe = Recipe(
        rank=4,
        epochs=3,
        learning_rate=1e-2,
        evaluations=1,
        distillation=Distillation(level=level) if level else None,
    )
    stored = train(
        student,
        quantizers.get("bnb-nf4"),
        data,
        recipe,
        folder=tmp_path / "a",
        identity={"name": "t"},
        teacher=teacher,
    )
    losses = stored.history["losses"]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])


@pytest.mark.parametrize("rule", ["sum", "mean-per-byte"])
def test_gemma_learns_questions_from_the_distribution_that_scoring_reads(gemma, tmp_path, rule):
    asked = TrainingData.of(
        questions(24, seed=0, prefix="t"), calibration=questions(12, seed=1, prefix="c"), test=[]
    )
    student = question_student(gemma, "bnb-nf4", rule)
    with torch.no_grad():
        ours = encode(student, asked.training).answers(student, range(24)).numpy()
    scored = score(student.module, student.tokenizer, gemma, student.request, asked.training).logits
    np.testing.assert_allclose(ours, scored, atol=1e-4)
    recipe = Recipe(rank=4, epochs=3, learning_rate=1e-2, evaluations=1)
    method = quantizers.get("bnb-nf4")
    stored = train(student, method, asked, recipe, folder=tmp_path / "a", identity={"name": "t"})
    losses = stored.history["losses"]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
