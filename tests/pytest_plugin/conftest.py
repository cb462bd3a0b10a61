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


@pytest.fixture
def other_store(tmp_path) -> str:
    """A store that holds a record of something else."""
    from calbench import Predictions
    from calbench.store import Store

    place = tmp_path / "other-store"
    Store.at(place).put({"of": "something else"}, Predictions(range(4), [[0.0, 1.0]] * 4, [0, 1, 0, 1]), {})
    return str(place)


@pytest.fixture(scope="session", autouse=True)
def everything_imported() -> None:
    """A run in this process forgets the modules it imported, and with them what they registered."""
    import bitsandbytes  # noqa: F401

    import calbench._pytest  # noqa: F401
    from calbench import calibrators, metrics, models, quantizers, tasks

    for part in (calibrators, metrics, models, quantizers, tasks):
        for name in part.names():
            part.registry.get(name)


@pytest.fixture(autouse=True)
def no_summary_page(monkeypatch) -> None:
    """Keep runs inside tests off the summary page of the job that runs the tests."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


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


# Arrays need no suite, model or store: a model, a copy of it, a slightly and a much surer one.
ARRAYS = """
import numpy as np

rng = np.random.default_rng(0)
fp32 = 2 * rng.normal(size=(600, 3))
labels = np.argmax(fp32 + rng.gumbel(size=fp32.shape), axis=1)
same, surer, broken = fp32, 1.15 * fp32, 5 * fp32

def test_same(calbench):
    calbench.compare(fp32, same, labels).require("ece", max_increase=0.02)

def test_surer(calbench):
    calbench.compare(fp32, surer, labels).require("ece", max_increase=0.02)

def test_broken(calbench):
    calbench.compare(fp32, broken, labels).require("ece", max_increase=0.02)
"""


@pytest.fixture(params=[(), ("-n", "2")], ids=["serial", "xdist"])
def workers(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Options that run a suite in this process, or in two others."""
    return request.param


@pytest.fixture
def arrays(pytester: pytest.Pytester, monkeypatch):
    """Run pytest on a test file of arrays with options; returns the result."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(*options: str, suite: str = ARRAYS, file: str = "test_arrays") -> pytest.RunResult:
        pytester.makepyfile(**{file: suite})
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


def gates(document: dict) -> dict[str, dict]:
    """Return the gates on arrays by the name of their test."""
    return {c["name"]: gate for c in document["comparisons"] for gate in c["gates"]}
