"""Worker processes, interruptions and pytest's own selections."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pytest_plugin.conftest import ARRAYS, SUITE

SLOW = (
    ARRAYS
    + """
def test_slow(calbench):
    import pathlib, time
    pathlib.Path("reached").touch()
    time.sleep(60)
"""
)

# What a shell runs in the background ignores SIGINT, and so does whatever it starts.
PYTEST_THAT_HEEDS_CTRL_C = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["serial", "xdist"])
def test_ctrl_c_prints_what_is_done(pytester, workers):
    pytester.makepyfile(test_slow=SLOW)
    command = [sys.executable, "-c", PYTEST_THAT_HEEDS_CTRL_C, "-p", "no:cacheprovider", *workers]
    with subprocess.Popen(
        command,
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not Path("reached").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    assert "gates: 1 passed, 1 failed, 1 inconclusive" in out
    assert "passed test_same: ece +0 in " in out


def test_loadgroup_gives_a_models_cells_to_one_worker(project, pytester):
    result = project("-n", "2", "--dist", "loadgroup", "-v", "-k", "coin", "--calbench-report=report")
    result.assert_outcomes(passed=6)
    workers = {line.split("]")[0] for line in result.outlines if line.startswith("[gw")}
    assert len(workers) == 1
    text = (pytester.path / "report" / "results.json").read_text()
    assert "temperature]@tiny" not in text


def test_the_group_needs_no_plugin_under_strict_marks(project):
    project("-p", "no:xdist", "--strict-markers", "-k", "coin-fp32-identity").assert_outcomes(
        passed=1, deselected=11
    )


def test_a_failed_cell_is_run_again_by_lf(project, pytester):
    failing = SUITE.replace("max_increase=MARGIN", "max_increase=-1 if calbench.cell.task == 'coin' else 1")
    options = ("-p", "cacheprovider", "-k", "bnb-nf4-temperature")
    project(*options, suite=failing).assert_outcomes(passed=1, failed=1, deselected=10)
    result = project(*options, "--lf", suite=failing)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*test_transfer?tiny-coin-bnb-nf4-temperature?*"])
    result.assert_outcomes(failed=1)


def test_x_stops_at_the_first_failure_and_reports_what_is_done(project):
    result = project("-x", "-k", "temperature", margin=-1)
    result.assert_outcomes(failed=1, deselected=6)
    result.stdout.fnmatch_lines(["gates: 0 passed, 1 failed, 0 inconclusive"])


def test_a_suite_runs_from_another_directory(project, pytester, monkeypatch):
    project("-k", "coin-fp32-identity")
    inside = pytester.mkdir("inside")
    monkeypatch.chdir(inside)
    result = pytester.runpytest_inprocess(
        "..", "--calbench-store", str(inside / "store"), "--calbench-report=out", "-k", "coin-fp32-identity"
    )
    result.assert_outcomes(passed=1, deselected=11)
    assert (inside / "out" / "leaderboard.md").is_file()


def test_two_components_of_one_id_stop_collection(project, pytester):
    conftest = pytester.path.joinpath("conftest.py")
    conftest.write_text(
        conftest.read_text()
        + """
@calbench.calibrator("temperature")
class Mine:
    def fit(self, logits, labels, *, context): ...
"""
    )
    result = project("--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two calibrators are called 'temperature'*"])
