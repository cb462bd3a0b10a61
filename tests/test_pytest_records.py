"""Records from elsewhere are gated like any other cell: ``--calbench-records DIR``."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from calbench import Predictions, baselines, calibrators

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(600, 3))
LABELS = [int(RNG.choice(3, p=p)) for p in calibrators.softmax(LOGITS)]
SUITE = """
    import calbench

    pytestmark = calbench.grid(quantizers="not fp32", calibrators="temperature,platt")

    def test_nll(calbench):
        calbench.transfer().require("ece", max_increase=1).require("accuracy", at_least=0.1)
"""


@pytest.fixture(params=[(), ("-n", "2")], ids=["serial", "xdist"])
def workers(request):
    """Options that run a suite in this process, or in two others."""
    return request.param


@pytest.fixture
def folder(pytester):
    def write(*, top_label=False, **scales):
        for quantizer, scale in scales.items():
            record = Predictions(range(600), scale * LOGITS, LABELS)
            record = record.to_top_label() if top_label else record
            metadata = {"model": "llama.cpp", "task": "arc", "quantizer": quantizer}
            record.with_metadata(metadata).write(pytester.path / "records" / f"{quantizer}.parquet")

    return write


def run(pytester, *options, suite=SUITE):
    pytester.makepyfile(test_suite=suite)
    return pytester.runpytest_inprocess(
        "--calbench-records", "records", "--calbench-store", "store", "--calbench-resamples", "200", *options
    )


def test_each_record_is_a_cell(pytester, folder):
    folder(bf16=1.0, q4_0=1.1, q2_k=1.2)
    result = run(pytester, "--calbench-report", "report", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*llama.cpp on arc*"])
    results = json.loads((pytester.path / "report" / "results.json").read_text())
    assert {cell["quantizer"] for cell in results["cells"]} == {"q4_0", "q2_k"}
    assert len(results["records"]) == 3
    assert (pytester.path / "report" / "report.html").is_file()


def test_a_record_that_lost_its_calibration_fails(pytester, folder):
    folder(fp16=1.0, q4_0=6.0)
    pytester.makeconftest("")
    pytester.makepyfile(SUITE.replace("max_increase=1", "max_increase=0.01"))
    result = pytester.runpytest_inprocess(
        "--calbench-records", "records", "--calbench-store", "store", "--calbench-resamples", "200"
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*ece got worse*", "*model llama.cpp, task arc, quantizer q4_0*"])


def test_the_command_line_narrows(pytester, folder):
    folder(bf16=1.0, q4_0=1.1, q2_k=1.2)
    result = run(pytester, "--calbench-quantizers", "q4*", "--calbench-calibrators", "temperature")
    result.assert_outcomes(passed=1)


def test_top_answers_get_the_calibrators_that_can_be_fitted(pytester, folder):
    folder(top_label=True, bf16=1.0, q4_0=1.1)
    result = run(pytester)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*platt*"])


def test_workers_measure_the_same(pytester, folder):
    folder(bf16=1.0, q4_0=1.1)
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess(
        "-n", "2", "--calbench-records", "records", "--calbench-store", "store", "--calbench-resamples", "200"
    )
    result.assert_outcomes(passed=2)


def test_an_empty_folder_is_refused(pytester):
    (pytester.path / "records").mkdir()
    result = run(pytester)
    result.stderr.fnmatch_lines(["*holds no record*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


BASELINE = SUITE.replace("max_increase=1", "max_increase=0, against='baseline'")


@pytest.mark.parametrize("top_label", [False, True])
def test_a_baseline_of_records_is_written_and_compared(pytester, folder, workers, top_label):
    folder(bf16=1.0, q4_0=1.1, top_label=top_label)
    n_cells = 1 if top_label else 2
    options = ("--calbench-baseline", "accepted", *workers)
    result = run(pytester, *options, "--calbench-update-baseline", suite=BASELINE)
    result.assert_outcomes(passed=n_cells)
    result.stdout.fnmatch_lines([f"baselines: {n_cells} of {n_cells} changed in accepted; *"])
    run(pytester, *options, suite=BASELINE).assert_outcomes(passed=n_cells)
    folder(q4_0=6.0, top_label=top_label)
    result = run(pytester, *options, suite=BASELINE)
    result.assert_outcomes(failed=n_cells)
    result.stdout.fnmatch_lines(["*ece got worse*", "*changed since the baseline: *"])


def test_only_baselines_of_records_can_be_stale_in_a_run_on_records(pytester, folder):
    folder(bf16=1.0, q4_0=1.1, q2_k=1.2)
    options = ("--calbench-baseline", "accepted")
    run(pytester, *options, "--calbench-update-baseline", suite=BASELINE).assert_outcomes(passed=4)
    (pytester.path / "records" / "q2_k.parquet").unlink()
    path = pytester.path / "accepted" / "test_suite.json"
    name = next(name for name in json.loads(path.read_text())["cells"] if "q4_0" in name)
    one = baselines.read(path, name)
    of_a_run = replace(one, cell={**one.cell, "model": "run"}, settings={**one.settings, "profile": "quick"})
    baselines.write(path.parent, [of_a_run])
    result = run(pytester, *options, suite=BASELINE)
    result.stdout.fnmatch_lines(["2 stale baselines in accepted: *q2_k*"])


@pytest.mark.parametrize("selection", ["fp32,int4", "int4*"])
def test_a_quantizer_without_a_record_is_an_error(pytester, folder, selection):
    folder(bf16=1.0, q4_0=1.1)
    result = run(pytester, "--calbench-quantizers", selection)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no record is of the quantizer 'int4*'; there are bf16, q4_0"])
    result = run(pytester, suite=SUITE.replace("not fp32", selection))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*calbench.grid: no record is of the quantizer 'int4*"])


def test_leaving_out_a_quantizer_without_a_record_leaves_out_nothing(pytester, folder):
    folder(bf16=1.0, q4_0=1.1)
    run(pytester, "--calbench-quantizers", "not int4").assert_outcomes(passed=2)


@pytest.mark.parametrize("axis", ["models", "tasks"])
def test_a_model_or_task_without_a_record_is_an_error(pytester, folder, axis):
    folder(bf16=1.0, q4_0=1.1)
    result = run(pytester, f"--calbench-{axis}", "other")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*no record is of the {axis[:-1]} 'other'; there are *"])


def test_a_calibrator_that_needs_a_unit_error_is_skipped_with_a_reason(pytester, folder):
    folder(bf16=1.0, q4_0=1.1)
    result = run(pytester, suite=SUITE.replace("temperature,platt", "temperature,pacs*"))
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["calbench skipped 1 cell of pacs: pacs needs the unit error*"])


def test_a_calibrator_that_needs_a_unit_error_and_is_named_fails_with_a_remedy(pytester, folder):
    folder(bf16=1.0, q4_0=1.1)
    result = run(pytester, suite=SUITE.replace("temperature,platt", "pacs"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pacs needs the unit error*reference_epsilon= and candidate_epsilon="])


def test_baselines_that_cannot_be_written_after_all_are_said(pytester, folder):
    folder(bf16=1.0, q4_0=1.1)
    (pytester.path / "accepted" / "test_suite.json").mkdir(parents=True)  # in the way
    result = run(pytester, "--calbench-baseline=accepted", "--calbench-update-baseline", suite=BASELINE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["baselines not updated, or not all: *"])


def test_gates_are_cross_fitted_and_calibrators_still_ranked_on_one_split(pytester, folder):
    folder(bf16=1.0, q4_0=1.1)
    suite = SUITE.replace("temperature,platt", "temperature,histogram")
    run(pytester, "--calbench-report", "report", "--calbench-folds=5", suite=suite).assert_outcomes(passed=2)
    run(pytester, "--calbench-report", "once", suite=suite).assert_outcomes(passed=2)
    found, once = (
        {c["calibrator"]: c for c in json.loads((pytester.path / name / "results.json").read_text())["cells"]}
        for name in ("report", "once")
    )
    gates = {name: cell["gates"][0] for name, cell in found.items()}
    assert [gates["temperature"][part] for part in ("n", "n_calibration", "folds")] == [600, 600, 5]
    assert [gates["histogram"][part] for part in ("n", "n_calibration", "folds")] == [360, 240, 1]
    assert "histogram has one split: it learns too many numbers" in found["histogram"]["warnings"][-1]
    for name, cell in found.items():
        assert cell["arms"] == once[name]["arms"]


@pytest.mark.parametrize("folds", ["0", "21", "many"])
def test_a_number_of_folds_that_makes_no_sense_is_refused(pytester, folder, folds):
    folder(bf16=1.0, q4_0=1.1)
    result = run(pytester, f"--calbench-folds={folds}")
    result.stderr.fnmatch_lines(
        [f"*--calbench-folds:*'{folds}'*write a whole number from 1 (one split) to 20*"]
    )
