"""Selections, folders and profiles in worker processes: each is told what the command line says."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import results


@pytest.mark.parametrize(
    ("axis", "value", "tests"),
    [
        ("models", "tiny", 12),
        ("quantizers", "not bnb-*", 4),
        ("tasks", "dice", 6),
        ("calibrators", "temp*", 6),
    ],
)
def test_each_selection_narrows(project, axis, value, tests):
    result = project(f"--calbench-{axis}={value}", "--collect-only", "-q")
    assert result.ret == 0
    assert sum("::test_transfer[" in line for line in result.outlines) == tests


def cells(pytester) -> list[dict]:
    return results(pytester)["cells"]


@pytest.mark.parametrize(
    ("axis", "value", "left"),
    [
        ("models", "tiny", {("coin", "bnb-nf4", "temperature")}),
        ("quantizers", "bnb-nf4", {("coin", "bnb-nf4", "temperature")}),
        ("tasks", "coin", {("coin", "bnb-nf4", "temperature")}),
        ("calibrators", "temperature", {("coin", "bnb-nf4", "temperature")}),
    ],
)
def test_a_selected_part_is_all_that_runs(project, pytester, axis, value, left, workers):
    rest = {"quantizers": "bnb-nf4", "tasks": "coin", "calibrators": "temperature"}
    rest.pop(axis, None)
    options = [f"--calbench-{axis}={value}", *(f"--calbench-{name}={one}" for name, one in rest.items())]
    result = project(*options, "--calbench-report=report", *workers)
    result.assert_outcomes(passed=1)
    assert {(c["task"], c["quantizer"], c["calibrator"]) for c in cells(pytester)} == left
    assert {c["model"] for c in cells(pytester)} == {"tiny"}


@pytest.mark.parametrize(
    ("option", "measured"),
    [
        ("--calbench-seeds=3", (3, 119)),
        ("--calbench-profile=quick", (42, 125)),
        ("--calbench-profile=full", (42, 120)),
    ],
)
def test_a_seed_and_a_profile_say_what_is_measured(project, pytester, option, measured, workers):
    result = project(option, "-k", "coin-bnb-nf4-temperature", "--calbench-report=report", *workers)
    assert result.ret == 0
    assert [(c["seed"], c["n_test"]) for c in cells(pytester)] == [measured]


def test_a_replay_loads_no_model(project, other_store, workers):
    one = ("-k", "coin-bnb-nf4-identity")
    project(*one).assert_outcomes(passed=1, deselected=11)
    assert project(*one, "--calbench-replay", *workers).ret == 0
    result = project(*one, "--calbench-replay", f"--calbench-store={other_store}", *workers)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*no stored record of tiny with * on coin*"])


def test_a_replay_of_an_empty_store_says_once_what_to_do(project, pytester):
    result = project("--calbench-replay", f"--calbench-store={pytester.path / 'empty'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stdout.str() + result.stderr.str()
    assert said.count("nothing is stored yet in ") == 1
    assert "run once without --calbench-replay" in said


def test_worker_processes_are_told_every_selection_seed_profile_and_folder(project, pytester):
    options = (
        "--calbench-models=tiny",
        "--calbench-quantizers=bnb-nf4",
        "--calbench-tasks=coin",
        "--calbench-calibrators=temperature",
        "--calbench-seeds=3",
        "--calbench-profile=full",
        "--calbench-report=report",
    )
    alone = project(*options)
    alone.assert_outcomes(passed=1)
    (expected,) = results(pytester)["cells"]
    project(*options, "--calbench-replay", "-n", "2").assert_outcomes(passed=1)
    (found,) = results(pytester)["cells"]
    assert found == expected
    assert (found["seed"], found["n_test"]) == (3, 120)
