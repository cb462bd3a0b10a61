"""A student learns from its teacher, on the answer or on the sequence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calbench import quantizers
from calbench.adaptation import Distillation, Recipe, Student, Teacher, merged_source, train
from calbench.errors import InputError
from calbench.inference import score
from calbench.records import softmax
from tests.adaptation.conftest import student_of

RECIPE = Recipe(rank=4, epochs=4, batch_size=8, learning_rate=1e-2, evaluations=1)


def answers(student, asked):
    return score(student.module, student.tokenizer, student.source, student.request, asked).logits


def run(student, data, folder, distillation, teacher, quantizer="bnb-nf4"):
    recipe = dataclasses.replace(RECIPE, distillation=distillation)
    method = quantizers.get(quantizer)
    return train(student, method, data, recipe, folder=folder, identity={"name": "t"}, teacher=teacher)


def test_a_student_comes_closer_to_its_full_precision_teacher(source, data, tmp_path):
    reference, student = student_of(source, "fp32"), student_of(source, "bnb-nf4")
    wanted = answers(reference, data.training)

    def gap():
        return np.abs(softmax(answers(student, data.training)) - softmax(wanted)).mean()

    before = gap()
    run(student, data, tmp_path / "a", Distillation(alpha=1.0), Teacher(logits=wanted))
    assert gap() < before / 2


def test_a_sequence_is_distilled_from_a_model_beside_the_student(decoder, data, tmp_path):
    student, teacher = student_of(decoder, "bnb-nf4"), Teacher(model=student_of(decoder, "fp32"))
    stored = run(student, data, tmp_path / "a", Distillation(alpha=0.9, level="sequence"), teacher)
    losses = stored.history["losses"]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])


def test_an_encoder_has_no_sequence_to_distil(encoder, data, tmp_path):
    student, teacher = student_of(encoder, "fp32"), Teacher(model=student_of(encoder, "fp32"))
    with pytest.raises(InputError, match="no causal language model"):
        run(student, data, tmp_path / "a", Distillation(level="sequence"), teacher, "fp32")


@pytest.mark.parametrize(
    ("distillation", "teacher", "message"),
    [
        (Distillation(), None, "needs a teacher"),
        (None, Teacher(logits=np.zeros((48, 2), np.float32)), "must not be given any"),
        (
            Distillation(level="sequence"),
            Teacher(logits=np.zeros((48, 2), np.float32)),
            "give the teacher's model",
        ),
        (Distillation(), Teacher(), "give the teacher's answers"),
        (Distillation(), Teacher(logits=np.zeros((3, 2), np.float32)), "answered 3 items, and 48"),
    ],
)
def test_a_teacher_that_does_not_fit_the_recipe_is_refused(
    source, data, tmp_path, distillation, teacher, message
):
    with pytest.raises(InputError, match=message):
        run(student_of(source, "fp32"), data, tmp_path / "a", distillation, teacher, "fp32")


@pytest.mark.parametrize(
    "wrong", [{"alpha": 1.5}, {"temperature": 0.0}, {"temperature": float("inf")}, {"level": "layer"}]
)
def test_a_distillation_that_means_nothing_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Distillation(**wrong)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"learning_rate": -1.0}, {"dropout": 1.0}, {"epochs": 0}])
def test_a_recipe_that_means_nothing_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_a_merged_source_answers_as_the_unmerged_model_and_is_made_once(source, data, tmp_path):
    student = student_of(source, "fp32")
    stored = run(student, data, tmp_path / "a", None, None, "fp32")
    sources = [
        merged_source(source, stored, RECIPE, parent=tmp_path / "merged", identity={"name": "t"})
        for _ in range(2)
    ]
    assert sources[0] == sources[1]
    assert sources[0].weights_hash != source.weights_hash
    assert sources[0].tokenizer_hash == source.tokenizer_hash
    merged = Student(sources[0].load(), student.tokenizer, source, student.request)
    # One product instead of two, in float32.
    np.testing.assert_allclose(answers(merged, data.watched), answers(student, data.watched), atol=1e-3)


def test_the_reference_is_not_touched_by_merging(source, data, tmp_path):
    before = source.weights_hash
    stored = run(student_of(source, "fp32"), data, tmp_path / "a", None, None, "fp32")
    merged_source(source, stored, RECIPE, parent=tmp_path / "merged", identity={"name": "t"})
    assert dataclasses.replace(source).weights_hash == before
