"""Questions with options: trained on the distribution that scoring reads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from calbench import quantizers
from calbench.adaptation import Distillation, Recipe, Student, Teacher, TrainingData, attach, train
from calbench.adaptation._answers import encode
from calbench.errors import InputError
from calbench.inference import score
from calbench.tasks import ChoiceRequest, Question

PROMPT = "Text: {question} {options} Sentiment:"
RULES = ("letter", "sum", "mean-per-token", "mean-per-byte")


def questions(n: int, *, seed: int, prefix: str) -> list[Question]:
    """The right option is the one that holds the question's first word; some have two options, some three."""
    rng = np.random.default_rng(seed)
    found = []
    for row in range(n):
        words = rng.permutation(60)[:6]
        n_options = 2 + row % 2
        label = int(rng.integers(n_options))
        options = [f"w{words[2 + o]}" + " positive" * (o % 2) for o in range(n_options)]
        options[label] = f"w{words[0]} w{words[1]}"
        text = " ".join(f"w{w}" for w in words[:2])
        found.append(Question(f"{prefix}{row:02}", text, tuple(options), label))
    return found


@pytest.fixture(scope="module")
def asked() -> TrainingData:
    return TrainingData.of(
        questions(32, seed=0, prefix="t"), calibration=questions(16, seed=1, prefix="c"), test=[]
    )


def student_of(decoder, quantizer, rule="sum") -> Student:
    module = quantizers.get(quantizer).build(decoder, samples=None, seed=0)
    request = ChoiceRequest(rule, PROMPT)
    return Student(module, decoder.load_tokenizer(), decoder, request)


@pytest.mark.parametrize("rule", RULES)
def test_answers_with_gradient_are_the_scored_ones_whatever_the_rule(decoder, asked, rule):
    student = student_of(decoder, "bnb-nf4", rule)
    attach(student.module, Recipe(rank=4))
    with torch.no_grad():
        ours = encode(student, asked.training).answers(student, range(len(asked.training))).numpy()
    scored = score(student.module, student.tokenizer, decoder, student.request, asked.training).logits
    assert np.isneginf(scored[::2, 2]).all()
    # float32 sums in another order: scoring reads all options of a question in one row
    np.testing.assert_allclose(ours, scored, atol=1e-4)


def test_a_student_learns_questions_in_the_quantized_space(decoder, asked, tmp_path):
    student = student_of(decoder, "bnb-nf4")
    recipe = Recipe(rank=4, epochs=4, learning_rate=1e-2, evaluations=1)
    stored = train(
        student, quantizers.get("bnb-nf4"), asked, recipe, folder=tmp_path / "a", identity={"name": "t"}
    )
    losses = stored.history["losses"]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.2


def test_a_student_learns_its_teachers_distribution_over_ragged_options(decoder, asked, tmp_path):
    reference, student = student_of(decoder, "fp32"), student_of(decoder, "bnb-nf4")
    wanted = score(reference.module, reference.tokenizer, decoder, reference.request, asked.training).logits
    recipe = Recipe(
        rank=4, epochs=10, learning_rate=1e-2, evaluations=1, distillation=Distillation(alpha=1.0)
    )
    stored = train(
        student,
        quantizers.get("bnb-nf4"),
        asked,
        recipe,
        folder=tmp_path / "a",
        identity={"name": "t"},
        teacher=Teacher(logits=wanted),
    )
    losses = stored.history["losses"]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) / 2


def test_a_sequence_of_a_question_is_refused(decoder, asked, tmp_path):
    student, teacher = student_of(decoder, "fp32"), Teacher(model=student_of(decoder, "fp32"))
    recipe = dataclasses.replace(Recipe(rank=4), distillation=Distillation(level="sequence"))
    with pytest.raises(InputError, match="distribution over their options; use level='answer'"):
        train(
            student,
            quantizers.get("fp32"),
            asked,
            recipe,
            folder=tmp_path / "a",
            identity={"name": "t"},
            teacher=teacher,
        )
