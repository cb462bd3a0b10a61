"""What cannot be had here: skipped by name where a pattern picked it, an error where it is named."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import CONFTEST, results

MORE = """
from calbench.tasks import MultipleChoice, Question
from calbench.tasks._data import DataSource

@calbench.model("far-model")
def far_model():
    return ModelSource("far-model", "sequence-classification", "nobody/far-model", classes=("no", "yes"),
                       default_tasks=("coin",))

@calbench.task("far-data")
def far_data():
    load = lambda: DataSource("nobody/far-data", "*.parquet").rows
    return SequenceClassification("far-data", ("no", "yes"), load)

@calbench.task("far-fetched")
def far_fetched():
    return MultipleChoice("far-fetched", lambda: [Question("q", "?", ("a", "b"), 0)], n_quantization=0)
"""
SUITE = """
import calbench

pytestmark = calbench.grid(
    by_default={"models": "tiny", "tasks": "coin"}, quantizers="fp32", calibrators="identity"
)

def test_transfer(calbench):
    calbench.transfer().require("ece", max_increase=1.0)
"""


@pytest.fixture
def run(project, pytester, tiny_encoder, monkeypatch):
    # pytester forgets what a suite imported, and a second import of datasets in one process fails.
    pytest.importorskip("datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pytester.path / "hub"))
    pytester.makeconftest(CONFTEST.format(folder=str(tiny_encoder)) + MORE)
    return lambda *options: project(*options, suite=SUITE)


def test_what_a_pattern_picked_is_skipped_by_name_and_reason(run, pytester, workers):
    options = ("--calbench-models=tiny*,far-*", "--calbench-tasks=coin,far-*", "--calbench-report=report")
    result = run(*options, *workers)
    result.assert_outcomes(passed=1, skipped=5)
    result.stdout.fnmatch_lines_random(
        [
            "calbench skipped * of far-data: the data set 'nobody/far-data' is not in the hub's cache*",
            "calbench skipped * of tiny on far-fetched: task 'far-fetched' is multiple choice*",
            "calbench skipped 3 cells of far-model: 'nobody/far-model' is not in the hub's cache*",
        ]
    )
    assert [cell["task"] for cell in results(pytester)["cells"]] == ["coin"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--calbench-tasks=far-data",), "*the data set 'nobody/far-data' is not*download it where*"),
        (("--calbench-models=far-model",), "*'nobody/far-model' is not in the hub's cache*"),
        (("--calbench-models=far-model", "--calbench-tasks=*"), "*'nobody/far-model' is not in the hub's*"),
        (("--calbench-models=tiny", "--calbench-tasks=far-fetched"), "*choose a causal LM*"),
    ],
    ids=["task", "model", "model and all tasks", "pair"],
)
def test_what_is_named_is_an_error_that_says_what_to_do(run, options, message):
    result = run(*options, "-k", "not zzz")
    assert result.ret == 1
    assert result.parseoutcomes().get("passed", 0) == 0
    result.stdout.fnmatch_lines([message])


def test_a_grid_that_names_it_is_an_error_too(run, pytester, project):
    suite = SUITE.replace('by_default={"models": "tiny", "tasks": "coin"}', 'models="tiny", tasks="far-data"')
    project("--calbench-tasks=far-*", suite=suite).assert_outcomes(failed=1)
