"""Arms in a pytest run, on a tiny model that is really trained and quantized."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calbench.adaptation import AdaptationRunner
from calbench.errors import InputError

pytest.importorskip("peft", reason="adapters need peft")
pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")

# The random model is right on five of six items: they are labelled by itself, and a sixth is turned.
CONFTEST = """
import numpy as np
import torch
import calbench
from calbench.inference import score
from calbench.models import ModelSource
from calbench.tasks import ClassificationRequest, Item, SequenceClassification

SOURCE = ModelSource("tiny-arms", "sequence-classification", {folder!r}, classes=("no", "yes"),
                     max_length=32, default_tasks=("agree",), quantization_task="agree")

@calbench.model("tiny-arms")
def tiny():
    return SOURCE

def load():
    rng = np.random.default_rng(0)
    rows = rng.integers(60, size=(1000, 9))
    items = [Item(f"i{{i:04}}", " ".join(f"w{{w}}" for w in row), 0) for i, row in enumerate(rows)]
    request = ClassificationRequest("head", columns=(0, 1))
    said = score(SOURCE.load(), SOURCE.load_tokenizer(), SOURCE, request, items).logits
    said = said - np.median(said, axis=0)
    turned = rng.random(len(items)) < 1 / 6
    return [Item(item.id, item.text, int((z[1] > z[0]) ^ turn))
            for item, z, turn in zip(items, said, turned)]

@calbench.task("agree")
def agree():
    return SequenceClassification("agree", ("no", "yes"), load, n_training=160, n_quantization=20)
"""
SUITE = """
import calbench

pytestmark = calbench.grid(models="tiny-arms", quantizers="bnb-nf4", calibrators="identity")

def test_passes(calbench):
    calbench.arms().require("nll", arm="tuned", against="base", max_increase=1.0)

def test_fails(calbench):
    calbench.arms().require("nll", arm="base", against="tuned", max_increase=-9.0)

def test_accepted(calbench):
    calbench.arms().require("nll", arm="base", against="tuned", max_increase=-9.0,
                            accepted={"tiny-arms-*": "it is untuned"})
"""


def test_a_suite_of_arms_prints_and_reports_them_and_a_replay_agrees(
    pytester: pytest.Pytester, tiny_encoder: Path, monkeypatch
):
    import peft  # noqa: F401 (a run in this process forgets what it imported)

    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(CONFTEST.format(folder=str(tiny_encoder)))
    pytester.makepyfile(test_suite=SUITE)

    def run(*options: str) -> pytest.RunResult:
        result = pytester.runpytest_inprocess(
            "--calbench-store", "store", "--calbench-profile", "quick", "-p", "no:cacheprovider", *options
        )
        result.assert_outcomes(passed=1, failed=1, xfailed=1)
        return result

    result = run("--calbench-report", "report", "-v")
    result.stdout.fnmatch_lines(
        [
            "gates: 1 passed, 2 failed, 0 inconclusive; 1 accepted",
            "FAILED tiny-arms-agree-bnb-nf4: nll of base against tuned +* > *",
            "*tiny-arms on agree, bnb-nf4: 8 arms, adapters of 160 items, 500 test items, seed 42*",
            "*base-ptq*",
            "*tuning × quantization*",
            "*temperature*",
        ]
    )
    (row,) = json.loads((pytester.path / "report" / "results.json").read_text())["variants"]
    assert not any(arm["collapsed"] for arm in row["arms"].values())
    assert len(row["calibrated"]["qlora"]) > 5
    text = (pytester.path / "report" / "arms.md").read_text(encoding="utf-8")
    assert "| qlora " in text
    assert "| qlora - base-ptq " in text
    run("--calbench-report", "again", "--calbench-replay")
    assert json.loads((pytester.path / "again" / "results.json").read_text())["variants"] == [row]


def test_arms_that_cannot_be_made_are_not_tried_again(pytester, tiny_encoder, monkeypatch):
    tried = []

    def compare(self, *cell, seed):
        tried.append(cell)
        raise InputError("the quantizer is broken")

    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setattr(AdaptationRunner, "compare", compare)
    pytester.makeconftest(CONFTEST.format(folder=str(tiny_encoder)))
    pytester.makepyfile(test_suite=SUITE)
    result = pytester.runpytest_inprocess("--calbench-store", "store", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*the quantizer is broken*"] * 3)
    assert tried == [("tiny-arms", "agree", "bnb-nf4")]
