"""Distillation losses against implementations that share nothing with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax

from calbench.adaptation._losses import distillation_loss, divergence, sequence_distillation_loss

RNG = np.random.default_rng(0)


def expected(student, teacher, labels, alpha, temperature):
    """By scipy's relative entropy, in float64."""
    soft = rel_entr(softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)).sum(
        axis=1
    )
    hard = -log_softmax(student, axis=1)[np.arange(len(labels)), labels]
    return alpha * temperature**2 * soft.mean() + (1 - alpha) * hard.mean()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("n_classes", [2, 7])
def test_the_answers_loss_equals_an_independent_one(alpha, temperature, n_classes):
    student, teacher = RNG.normal(size=(2, 50, n_classes)) * 5
    labels = RNG.integers(n_classes, size=50)
    ours = distillation_loss(
        *map(torch.from_numpy, (student, teacher, labels)), alpha=alpha, temperature=temperature
    )
    assert ours.item() == pytest.approx(expected(student, teacher, labels, alpha, temperature), abs=1e-6)


def test_float32_is_within_1e_6_too():
    student, teacher = RNG.normal(size=(2, 50, 4)).astype(np.float32)
    labels = RNG.integers(4, size=50)
    ours = distillation_loss(*map(torch.from_numpy, (student, teacher, labels)), alpha=0.5, temperature=2.0)
    assert ours.item() == pytest.approx(expected(student, teacher, labels, 0.5, 2.0), abs=1e-6)


def test_the_sequences_loss_equals_a_loop_over_tokens():
    lengths, words = [3, 5, 2], np.array([1, 0, 6])
    student, teacher = RNG.normal(size=(2, 3, 5, 8)) * 3
    mask = np.array([[1] * n + [0] * (5 - n) for n in lengths])
    ours = sequence_distillation_loss(
        *map(torch.from_numpy, (student, teacher, mask, words)), alpha=0.4, temperature=3.0
    )
    soft, hard = [], []
    for row, length in enumerate(lengths):
        for place in range(length):
            p, q = softmax(teacher[row, place] / 3), softmax(student[row, place] / 3)
            soft.append(rel_entr(p, q).sum())
        hard.append(-log_softmax(student[row, length - 1])[words[row]])
    assert ours.item() == pytest.approx(0.4 * 9 * np.mean(soft) + 0.6 * np.mean(hard), abs=1e-6)


def test_a_student_that_agrees_with_its_teacher_pays_nothing():
    logits = torch.from_numpy(RNG.normal(size=(20, 3)))
    assert divergence(logits, logits + 2.0, temperature=2.0).abs().max() < 1e-12


def test_options_that_do_not_exist_add_nothing_and_keep_the_gradient_finite():
    teacher = torch.tensor([[1.0, 2.0, -torch.inf]])
    student = torch.tensor([[0.5, 0.0, -torch.inf]], requires_grad=True)
    loss = distillation_loss(student, teacher, torch.tensor([1]), alpha=0.5, temperature=2.0)
    short = distillation_loss(student[:, :2], teacher[:, :2], torch.tensor([1]), alpha=0.5, temperature=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(short.item())
    assert student.grad.isfinite().all()
