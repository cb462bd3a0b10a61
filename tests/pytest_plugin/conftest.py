"""A project with a tiny real model that is really quantized, for tests of the pytest surface."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFTEST = """
import numpy as np
import calbench
from calbench.models import ModelSource
from calbench.tasks import Item, SequenceClassification

@calbench.model("tiny")
def tiny():
    return ModelSource("tiny", "sequence-classification", {folder!r}, classes=("no", "yes"), max_length=32,
                       default_tasks=("coin", "dice"), quantization_task="coin")

def items(name, n=260):
    rng = np.random.default_rng(len(name))
    return [Item(f"{{name}}-{{i:03}}", f"{{name}} " + " ".join(f"w{{k}}" for k in rng.integers(60, size=12)),
                 int(rng.integers(2))) for i in range(n)]

@calbench.task("coin")
def coin():
    return SequenceClassification("coin", ("no", "yes"), lambda: items("coin"), n_quantization=60)

@calbench.task("dice")
def dice():
    return SequenceClassification("dice", ("no", "yes"), lambda: items("dice"), n_quantization=60)
"""
SUITE = """
import calbench

pytestmark = calbench.grid(
    models="tiny", quantizers="fp32,bnb-int8,bnb-nf4", calibrators="identity,temperature"
)

def test_transfer(calbench):
    calbench.transfer().require("ece", max_increase=MARGIN)
"""


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """One store for all tests here, so that the tiny model runs once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session", autouse=True)
def everything_imported() -> None:
    """A run in this process forgets the modules it imported, and with them what they registered."""
    import bitsandbytes  # noqa: F401

    import calbench.pytest_session  # noqa: F401
    from calbench import calibrators, metrics, models, quantizers, tasks

    for part in (calibrators, metrics, models, quantizers, tasks):
        for name in part.names():
            part.registry.get(name)


@pytest.fixture
def project(pytester: pytest.Pytester, tiny_encoder: Path, store: Path, monkeypatch):
    """Run pytest on a suite with a margin and options; returns the result."""
    monkeypatch.setenv("CALBENCH_CACHE", str(pytester.path / "cache"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(CONFTEST.format(folder=str(tiny_encoder)))

    def run(*options: str, margin: object = 1.0, suite: str = SUITE, alone: bool = False) -> pytest.RunResult:
        pytester.makepyfile(test_suite=suite.replace("MARGIN", str(margin)))
        options = ("--calbench-store", str(store), "-p", "no:cacheprovider", *options)
        if alone:  # in a process of its own: importing torch again takes seconds
            return pytester.runpytest_subprocess(*options, timeout=300)
        return pytester.runpytest_inprocess(*options)

    return run


def results(pytester: pytest.Pytester, folder: str = "report") -> dict:
    return json.loads((pytester.path / folder / "results.json").read_text())


def comparable(document: dict) -> dict:
    return {name: value for name, value in document.items() if name != "created"}
