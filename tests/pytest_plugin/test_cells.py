"""Cells: what is run, reported, replayed and refused."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET

import pytest

from tests.pytest_plugin.conftest import SUITE, comparable, results


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["serial", "xdist"])
def test_every_cell_is_run_and_reported(project, pytester, workers):
    result = project("--calbench-report", "report", "-v", *workers)
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["*calbench: all 12 gates hold*", "*tiny on coin*", "*tiny on dice*"])
    document = results(pytester)
    assert len(document["cells"]) == 12
    for row in document["cells"]:
        assert row["n_test"] > 0
        for estimate in row["arms"]["transferred"].values():
            low, high = estimate["interval"]
            assert low <= high
        for key in row["records"].values():
            record = document["records"][key]
            assert record["identity"]["model"]["versions"]["torch"]
            assert record["provenance"]["quantization"]["resident_bytes"] > 0
    markdown = (pytester.path / "report" / "leaderboard.md").read_text()
    cells, _, ranking = markdown.partition("## Ranking")
    assert cells.count("| bnb-nf4") == 4
    assert "calibrators by NLL" in ranking


def test_parallel_and_serial_runs_agree_and_a_second_run_loads_nothing(project, pytester):
    project("--calbench-report", "serial")
    project("--calbench-report", "parallel", "-n", "2")
    result = project("--calbench-report", "replayed", "--calbench-replay")
    result.assert_outcomes(passed=12)
    serial = comparable(results(pytester, "serial"))
    assert serial == comparable(results(pytester, "parallel"))
    assert serial == comparable(results(pytester, "replayed"))


def test_a_replay_without_records_reports_that_its_tests_failed_by_an_error(project, pytester, other_store):
    project("--calbench-replay", "--calbench-store", other_store, "--calbench-report", "r")
    comment = (pytester.path / "r" / "comment.md").read_text()
    assert "failed by an error" in comment
    assert "no gate was asked" not in comment


def test_replay_refuses_to_load_a_model(project, other_store):
    result = project("--calbench-replay", "--calbench-store", other_store, "-x")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*no stored record of tiny with fp32 on coin*"])


def test_a_test_is_picked_by_its_id(project):
    result = project("-k", "nf4 and temperature", "-v")
    result.assert_outcomes(passed=2, deselected=10)
    result.stdout.fnmatch_lines(["*test_transfer?tiny-coin-bnb-nf4-temperature? PASSED*"])


def test_a_gate_that_fails_explains_itself(project):
    result = project("-k", "coin-bnb-nf4-temperature", margin=-1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*ece got worse by more than the margin -1*",
            "*model tiny, task coin, quantizer bnb-nf4, calibrator temperature, seed 42",
            "*change *, 96% interval [[]*, *], n = * test items",
            "*records: reference ????????????????????????????????????????????????????????????????*",
            "*candidate ????????????????????????????????????????????????????????????????*",
        ]
    )


def test_an_accepted_regression_is_an_expected_failure(project, pytester):
    suite = SUITE.replace("max_increase=MARGIN", "max_increase=-1, accepted={'tiny-coin-bnb-nf4-*': 'known'}")
    result = project("-k", "bnb-nf4-temperature", "--calbench-report", "report", suite=suite)
    result.assert_outcomes(failed=1, xfailed=1, deselected=10)
    result.stdout.fnmatch_lines(["gates: 0 passed, 2 failed, 0 inconclusive; 1 accepted"])
    gates = {row["task"]: row["gates"][0]["accepted"] for row in results(pytester)["cells"]}
    assert gates == {"coin": "known", "dice": None}


@pytest.mark.parametrize(("mode", "code"), [("pass", 0), ("warn", 0), ("fail", 1)])
def test_what_becomes_of_an_inconclusive_gate(project, mode, code):
    # A margin inside the interval, whatever the data: the identity against itself is exactly 0.
    result = project(
        f"--calbench-inconclusive={mode}",
        "-k",
        "coin-bnb-nf4-temperature",
        suite=SUITE.replace("require(", "require_inconclusive(").replace(
            "def test_transfer(calbench):\n    calbench.transfer()",
            "def test_transfer(calbench):\n    transfer = calbench.transfer()\n"
            "    low, high = transfer.difference('nll').interval\n"
            "    transfer.require('nll', max_increase=(low + high) / 2)\n    return\n    transfer",
        ),
    )
    assert result.ret == code
    result.stdout.fnmatch_lines(["gates: 0 passed, 0 failed, 1 inconclusive"])


@pytest.mark.parametrize(
    ("axis", "value", "message"),
    [
        ("quantizers", "bnb-nf5", "*no quantizer is called 'bnb-nf5'; did you mean 'bnb-nf4'*"),
        ("calibrators", "temprature", "*did you mean 'temperature'*"),
        ("models", "nonsense", "*no model is called 'nonsense'*"),
        ("tasks", "nonsense", "*no task is called 'nonsense'*"),
    ],
)
def test_selections_that_match_nothing_are_usage_errors(project, axis, value, message):
    result = project(f"--calbench-{axis}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_selections_narrow_the_grid(project):
    result = project(
        "--calbench-quantizers=bnb-int8", "--calbench-calibrators=temp*", "--calbench-tasks=dice", "-v"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*tiny-dice-bnb-int8-temperature*"])


def test_a_report_folder_that_is_a_file_is_refused(project, pytester):
    (pytester.path / "taken").write_text("")
    result = project("--calbench-report", "taken")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is a file of that name*"])


def test_bad_seeds_are_refused(project):
    result = project("--calbench-seeds=1,x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_other_seeds_are_reported(project, pytester):
    project("--calbench-seeds=7,8", "--calbench-report", "report", "-k", "coin-bnb-nf4-temperature")
    (row,) = results(pytester)["cells"]
    assert (row["seed"], list(row["other_seeds"])) == (7, ["8"])


def test_profile_sets_the_number_of_items(project, pytester):
    project("--calbench-profile=full", "--calbench-report", "report", "-k", "coin-fp32-identity")
    (row,) = results(pytester)["cells"]
    assert (row["n_calibration"], row["n_test"]) == (0, 200)  # the identity fits nothing


def test_junit_properties(project, pytester):
    project("--junitxml=junit.xml", "-k", "coin-bnb-nf4-temperature")
    properties = {
        p.get("name"): p.get("value") for p in ET.parse(pytester.path / "junit.xml").iter("property")
    }
    assert properties["calbench.gate.ece.max_increase.transferred.calibrated_reference"] == "pass"
    assert 0 <= float(properties["calbench.transferred.ece"]) <= 1


def test_collecting_loads_no_model_and_needs_no_setup(project):
    result = project("--collect-only", "-q", suite="import calbench\n\n" + GRID_OF_EMBEDDED)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*test_it[[]minilm-tweets-fp32-temperature]*"])


GRID_OF_EMBEDDED = """
@calbench.grid(models="minilm", calibrators="temperature")
def test_it(calbench):
    calbench.transfer()
"""


def test_without_setup_the_run_stops_and_says_what_to_do(project):
    result = project(suite="import calbench\n\n" + GRID_OF_EMBEDDED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'minilm' is not in the cache*calbench setup*"])


def test_the_fixture_without_a_grid_says_what_to_do(project):
    result = project(suite="def test_it(calbench): calbench.transfer()")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*calbench.grid()*"])


def test_a_quantizer_that_changes_nothing_is_refused(project, pytester):
    fake = """
import dataclasses
import calbench
from calbench.quantizers import get

@calbench.quantizer("fake-int4")
def fake(id):
    nf4 = get("bnb-nf4")

    class Fake:
        def __getattr__(self, name):
            return getattr(nf4, name)
        def build(self, source, *, samples, seed):
            return source.load()
        def describe(self, model):
            return {}
    Fake.id = id
    return Fake()
"""
    pytester.path.joinpath("conftest.py").write_text(pytester.path.joinpath("conftest.py").read_text() + fake)
    suite = SUITE.replace("fp32,bnb-int8,bnb-nf4", "fake-int4")
    result = project("-k", "coin-fake-int4-identity", suite=suite, alone=True)
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(["*QuantizationError*bert.encoder.layer.0*"])


def test_a_killed_run_resumes_without_running_anything_twice(project, pytester, tiny_encoder):
    own_store = pytester.path / "own"
    first = project("--calbench-store", str(own_store), "-k", "fp32 and coin", alone=True)
    first.assert_outcomes(passed=2, deselected=10)
    before = {p: p.stat().st_mtime_ns for p in own_store.glob("records/*/*/record.json")}
    assert before
    project("--calbench-store", str(own_store), alone=True).assert_outcomes(passed=12)
    after = {p: p.stat().st_mtime_ns for p in own_store.glob("records/*/*/record.json")}
    assert len(after) == 6
    assert {p: after[p] for p in before} == before


def test_two_runs_at_once_do_each_job_once(project, pytester):
    own_store = pytester.path / "own"
    result = project("--calbench-store", str(own_store), "-n", "2")
    result.assert_outcomes(passed=12)
    assert len(list(own_store.glob("records/*/*/record.json"))) == 6
    assert not [p for p in own_store.rglob("*") if p.is_dir() and p.name.startswith(".")]


def test_environment_is_offline():
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_an_accepted_regression_hides_no_later_requirement(project):
    suite = SUITE.replace(
        "max_increase=MARGIN)",
        "max_increase=-1, accepted={'*': 'known'}).require('accuracy', max_decrease=-1)",
    )
    result = project("-k", "coin-bnb-nf4-temperature", suite=suite)
    result.assert_outcomes(failed=1, deselected=11)
    result.stdout.fnmatch_lines(["*accuracy got worse*"])


def test_an_unknown_metric_is_refused_without_a_traceback(project):
    suite = SUITE.replace('"ece"', '"eec"')
    result = project("-k", "coin-bnb-nf4-temperature", suite=suite)
    result.assert_outcomes(failed=1, deselected=11)
    result.stdout.fnmatch_lines(["*tiny-coin-bnb-nf4-temperature: *no metric is called 'eec'*'ece'*"])
    result.stdout.no_fnmatch_line("*/calbench/_pytest*")


@pytest.mark.parametrize("option", ["-q", "-v", "-rA"])
def test_a_step_has_a_line_of_its_own(option, project, pytester):
    suite = "def test_before(): pass\n\ndef test_skipped(): __import__('pytest').skip()\n" + SUITE
    result = project(
        option, f"--calbench-store={pytester.path / 'fresh'}", "--calbench-quantizers=fp32", suite=suite
    )
    steps = [line for line in result.outlines if "tiny × fp32: load" in line]
    assert steps
    assert all(line.startswith("calbench: tiny") for line in steps)
