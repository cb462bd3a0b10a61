"""Tiny random models and a task that they can learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("peft", reason="adapters need peft")
pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")

import torch

from calbench import quantizers
from calbench.adaptation import Student, TrainingData
from calbench.models import ModelSource
from calbench.tasks import ClassificationRequest, Item

HEAD = ClassificationRequest("head", columns=(0, 1))
WORDS = ClassificationRequest("label-words", "Text: {text} Sentiment:", ("negative", "positive"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring on matrices this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def items(n: int, *, seed: int = 0, prefix: str = "i") -> list[Item]:
    """Label 1 if the text has more of the words w0 to w29 than of the others."""
    rng = np.random.default_rng(seed)
    words = rng.integers(60, size=(n, 9))
    return [
        Item(f"{prefix}{row:03}", " ".join(f"w{w}" for w in words[row]), int((words[row] < 30).sum() > 4))
        for row in range(n)
    ]


@pytest.fixture(scope="session")
def data() -> TrainingData:
    return TrainingData.of(items(48), calibration=items(24, seed=1, prefix="c"), test=[])


@pytest.fixture(scope="session")
def encoder(tiny_encoder: Path) -> ModelSource:
    return ModelSource("e", "sequence-classification", str(tiny_encoder), max_length=64)


@pytest.fixture(scope="session")
def decoder(tiny_decoder: Path) -> ModelSource:
    return ModelSource("d", "causal-lm", str(tiny_decoder), max_length=64)


@pytest.fixture(scope="session", params=["encoder", "decoder"])
def source(request: pytest.FixtureRequest) -> ModelSource:
    found: ModelSource = request.getfixturevalue(request.param)
    return found


def student_of(source: ModelSource, quantizer: str) -> Student:
    module = quantizers.get(quantizer).build(source, samples=None, seed=0)
    asked = WORDS if source.architecture == "causal-lm" else HEAD
    return Student(module, source.load_tokenizer(), source, asked)
