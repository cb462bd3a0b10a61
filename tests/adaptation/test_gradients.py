"""Gradients through a quantized base are those of the same weights in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calbench import quantizers
from calbench.adaptation import Distillation, Recipe, Student, attach, set_adapter
from calbench.adaptation._answers import encode
from calbench.adaptation._lora import adapter_parameters, adapter_state
from calbench.adaptation._losses import distillation_loss
from calbench.inference import score
from tests.adaptation.conftest import student_of

RECIPE = Recipe(rank=4)


def labels_of(data):
    return torch.tensor([item.label for item in data.training[:8]])


def oracle_of(source, quantizer, student):
    """The float32 model whose weights are the dequantized ones."""
    method, plain = quantizers.get(quantizer), source.load()
    for layer in method.describe(student.module):
        plain.get_submodule(layer).weight.data = method.dequantize(student.module.get_submodule(layer))
    return Student(plain, student.tokenizer, source, student.request)


def gradients(student, data):
    answers = encode(student, data.training).answers(student, range(8))
    loss = torch.nn.functional.cross_entropy(answers, labels_of(data))
    parameters = adapter_parameters(student.module)
    found = torch.autograd.grad(loss, list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("quantizer", ["bnb-nf4", "bnb-nf4[double_quant=true]", "bnb-fp4"])
@pytest.mark.parametrize("evaluated", [False, True], ids=["fresh", "after an evaluation"])
def test_every_adapters_gradient_equals_a_dequantized_float32_oracles(source, data, quantizer, evaluated):
    student = student_of(source, quantizer)
    oracle = oracle_of(source, quantizer, student)
    for each in (student, oracle):
        attach(each.module, RECIPE)
    # B starts at 0, where A has no gradient: move away from it.
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator) / 10
        for name, tensor in adapter_state(student.module).items()
    }
    for each in (student, oracle):
        set_adapter(each.module, state)
    if evaluated:
        score(student.module, student.tokenizer, source, student.request, data.watched)
    ours, theirs = gradients(student, data), gradients(oracle, data)
    assert len(ours) == 2 * len(quantizers.get(quantizer).describe(student.module))
    for name, gradient in theirs.items():
        assert gradient.norm() > 0, name
        cosine = torch.nn.functional.cosine_similarity(ours[name].flatten(), gradient.flatten(), dim=0)
        assert cosine > 0.999, name


def test_8_bit_gradients_agree_with_their_oracle_up_to_the_rounding_of_activations(source, data):
    student = student_of(source, "bnb-int8")
    oracle = oracle_of(source, "bnb-int8", student)
    for each in (student, oracle):
        attach(each.module, RECIPE)
    ours, theirs = gradients(student, data), gradients(oracle, data)
    for name in theirs:
        if "lora_B" in name:
            cosine = torch.nn.functional.cosine_similarity(
                ours[name].flatten(), theirs[name].flatten(), dim=0
            )
            # Activations are rounded to 8 bits in the forward pass, by up to 1/254 of a row's largest.
            assert cosine > 0.95, name


def test_answers_with_gradient_are_the_scored_ones(source, data):
    student = student_of(source, "bnb-nf4")
    attach(student.module, RECIPE)
    scored = score(student.module, student.tokenizer, source, student.request, data.training).logits
    with torch.no_grad():
        # float32 sums in another order: the batches differ
        np.testing.assert_allclose(
            encode(student, data.training).answers(student, range(len(data.training))).numpy(),
            scored,
            atol=1e-4,
        )


@pytest.mark.parametrize("quantizer", ["fp32", "bnb-nf4"])
def test_a_distillation_losss_gradient_reaches_only_adapters(source, data, quantizer):
    student = student_of(source, quantizer)
    attach(student.module, RECIPE)
    teacher = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    how = Distillation()
    loss = distillation_loss(
        encode(student, data.training).answers(student, range(8)),
        teacher,
        labels_of(data),
        alpha=how.alpha,
        temperature=how.temperature,
    )
    loss.backward()
    reached = {name for name, p in student.module.named_parameters() if p.grad is not None}
    assert reached
    assert all(".lora_A." in name or ".lora_B." in name for name in reached)
    assert len(reached) == len(adapter_parameters(student.module))
