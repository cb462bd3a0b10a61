"""Open questions in the grid: records of the top answer, gated, reported and replayed like any other."""

from __future__ import annotations

import dataclasses
import json

import pytest

from calbench.inference._generation import _Writer
from tests.pytest_plugin.conftest import results

CONFTEST = """
import numpy as np
import calbench
from calbench.models import ModelSource
from calbench.tasks import Generation, OpenQuestion

@calbench.model("writer")
def writer():
    return ModelSource("writer", "causal-lm", {decoder!r}, max_length=120, default_tasks=("open-coin",))

@calbench.model("judge")
def judge():
    return ModelSource("judge", "sequence-classification", {encoder!r}, classes=("no", "yes"))

def questions():
    rng = np.random.default_rng(0)
    known = tuple(f"w{{i}}" for i in range(0, 60, 2))
    return [OpenQuestion(f"q{{i:03}}", " ".join(f"w{{k}}" for k in rng.integers(60, size=8)), known)
            for i in range(130)]

@calbench.task("open-coin")
def open_coin():
    prompt = "Text: {{question}} Sentiment:"
    return Generation("open-coin", questions, prompt, max_new_tokens=1, n_quantization=20)
"""
SUITE = """
import calbench

pytestmark = calbench.grid(
    models="writer", quantizers="fp32,bnb-nf4", calibrators="identity,platt,temperature"
)

def test_open(calbench):
    transfer = calbench.transfer()
    transfer.require("ece", max_increase=1.0)
    transfer.require(transfer.brier, max_increase=1.0, against="raw_reference")
    transfer.require("ece", max_increase=1.0, against="baseline")
"""


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """One store for all tests here, so that the tiny model writes once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def project(pytester, tiny_decoder, tiny_encoder, store, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(pytester.path / "cache"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(CONFTEST.format(decoder=str(tiny_decoder), encoder=str(tiny_encoder)))
    pytester.makepyfile(test_suite=SUITE)

    def run(*options):
        fixed = ("--calbench-store", str(store), "--calbench-resamples=200", "-p", "no:cacheprovider")
        return pytester.runpytest_inprocess(*fixed, *options)

    return run


def test_each_precision_is_a_cell_of_each_calibrator_that_takes_confidences(project, pytester, workers):
    result = project("--calbench-report=report", "-v", *workers)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*writer on open-coin: ECE*", "*there is no NLL*"])
    document = results(pytester)
    cells = {(cell["quantizer"], cell["calibrator"]) for cell in document["cells"]}
    assert cells == {(q, c) for q in ("fp32", "bnb-nf4") for c in ("identity", "platt")}
    assert set(document["cells"][0]["arms"]["transferred"]) == {"ece", "brier_toplabel", "accuracy"}
    assert "w0" not in json.dumps(document["records"])  # answers stay in the store
    assert (pytester.path / "report" / "report.html").is_file()
    assert "top-label BRIER" in (pytester.path / "report" / "leaderboard.md").read_text()


def test_a_replay_loads_no_model(project, monkeypatch):
    project().assert_outcomes(passed=4)
    from calbench.models import ModelSource

    monkeypatch.setattr(ModelSource, "load", lambda *_: pytest.fail("weights were read"))
    project("--calbench-replay").assert_outcomes(passed=4)


def test_todays_answers_can_be_accepted_and_compared_with(project):
    project("--calbench-baseline=accepted", "--calbench-update-baseline").assert_outcomes(passed=4)
    project("--calbench-baseline=accepted").assert_outcomes(passed=4)


def test_a_calibrator_of_logits_that_is_named_says_what_to_use(project):
    result = project("--calbench-calibrators=temperature", "--calbench-quantizers=bnb-nf4")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*'temperature' needs the logit of every class; use histogram, isotonic*"])


def test_adapters_are_not_trained_on_open_questions(project, pytester):
    grid, _ = SUITE.split("def ")
    pytester.makepyfile(test_suite=grid + "def test_arms(calbench): calbench.arms()")
    result = project("-k", "nf4-platt")
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(["*the questions of 'open-coin' are open*"])


def test_what_the_model_wrote_is_in_the_record(project, store):
    from calbench.store import Store, entries
    from calbench.store._records import read_record

    project()
    records = (read_record(e.folder, e.folder.name) for e in entries(Store.at(store)) if e.kind == "record")
    record = next(r for r in records if r.predictions.metadata["task"] == "open-coin")
    assert set(record.predictions.metadata["answers"]) == set(record.predictions.item_ids.tolist())
    assert record.identity["task"]["request"]["scoring"] == "generation"
    assert record.provenance["n_unreported"] == 0


def test_confidences_that_the_model_does_not_name_are_counted_and_shown(project, pytester, monkeypatch):
    write = _Writer.write

    def silent(self, prompt, **options):
        written = write(self, prompt, **options)
        return dataclasses.replace(written, text="very") if prompt.endswith("Confidence:") else written

    monkeypatch.setattr(_Writer, "write", silent)
    task = "open-coin[confidence=self-reported]"
    options = (f"--calbench-tasks={task}", "--calbench-quantizers=fp32", "--calbench-calibrators=identity")
    project(*options, "--calbench-report=report")
    (cell,) = results(pytester)["cells"]
    assert cell["task"] == task
    assert "reference: 110 of 110 answers came without a confidence and count as 0" in cell["warnings"]


def test_triviaqa_runs_from_files_in_the_hubs_layout(project, pytester, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = pytester.path / "hub" / "datasets--mandarjoshi--trivia_qa"
    folder = repo / "snapshots" / commit / "rc.nocontext"
    folder.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    aliases = [f"w{i}" for i in range(0, 60, 3)]
    rows = [
        {
            "question_id": f"t{i}",
            "question": f"w{i % 60} w{i // 3}",
            "answer": {"value": "w1", "aliases": aliases},
        }
        for i in range(160)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "validation-00000-of-00001.parquet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pytester.path / "hub"))
    result = project("--calbench-tasks=triviaqa[max_new_tokens=1]", "-k", "platt", "--calbench-report=report")
    result.assert_outcomes(passed=2, deselected=2)
    assert {cell["task"] for cell in results(pytester)["cells"]} == {"triviaqa[max_new_tokens=1]"}
