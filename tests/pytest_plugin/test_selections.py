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


def test_worker_processes_are_told_every_selection_seed_profile_and_folder(project, pytester):
    options = (
        "--calbench-models=tiny",
        "--calbench-quantizers=bnb-nf4",
        "--calbench-tasks=coin",
        "--calbench-calibrators=identity",
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
