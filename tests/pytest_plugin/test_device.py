"""``--calbench-device``: refused before any work where it is not here, and known to every process."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch", reason="models need torch")

NAME = "CALBENCH_DEVICE"
CELLS = ("--calbench-quantizers", "fp32", "--calbench-calibrators", "identity")

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="tests what a machine without a GPU does")


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch):
    monkeypatch.delenv(NAME, raising=False)


@pytest.mark.parametrize("how", ["option", "ini", "variable"])
def test_a_gpu_that_is_not_here_stops_the_run(how, project, pytester, monkeypatch):
    options = ("--calbench-device", "cuda") if how == "option" else ()
    if how == "ini":
        options = ("-c", str(pytester.makeini("[pytest]\ncalbench_device = cuda\n")))
    if how == "variable":
        monkeypatch.setenv(NAME, "cuda")
    result = project(*CELLS, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*calbench: the device 'cuda' is not here: torch * sees no CUDA device*"])


def test_a_device_that_does_not_exist_is_refused(project):
    result = project(*CELLS, "--calbench-device", "gpu")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'gpu'; use auto, cpu, cuda, or cuda:N*"])


def test_the_option_goes_before_the_variable_and_ends_with_the_run(project, monkeypatch):
    monkeypatch.setenv(NAME, "cuda")
    project(*CELLS, "--calbench-device", "cpu").assert_outcomes(passed=2)
    assert os.environ[NAME] == "cuda"


def test_worker_processes_run_on_the_device_of_the_option(project, monkeypatch):
    monkeypatch.setenv(NAME, "cuda")
    project(*CELLS, "--calbench-device", "cpu", "-n", "2", alone=True).assert_outcomes(passed=2)


def test_records_of_a_gpu_can_be_replayed_without_one(project, monkeypatch):
    """They are looked for under another key than those of the CPU; here there are none."""
    project(*CELLS).assert_outcomes(passed=2)
    result = project(*CELLS, "--calbench-device", "cuda", "--calbench-replay")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*there is no stored record of tiny with fp32*"])


def test_a_run_that_needs_no_model_needs_no_device(arrays, monkeypatch):
    monkeypatch.setenv(NAME, "cuda")
    assert arrays("-k", "same").ret == 0
