"""Folders that cannot be written are said in one line, before anything is measured if possible."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytest_plugin.conftest import ARRAYS

GREEN = ARRAYS.split("def test_surer")[0]
# Even the administrator cannot make a folder inside a file.
OPTIONS = {
    "report": ("--calbench-report=file/report",),
    "baseline": ("--calbench-baseline=file/accepted", "--calbench-update-baseline"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_folder_that_cannot_be_made_is_a_usage_error(arrays, pytester, workers, name):
    (pytester.path / "file").write_text("")
    result = arrays(*OPTIONS[name], *workers, suite=GREEN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--calbench-{name}: *cannot be written (*); name another folder"])
    result.stderr.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*1 passed*")


def test_a_folder_that_may_not_be_entered_is_a_usage_error(arrays, monkeypatch):
    exists = Path.exists

    def forbidden(path):
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", forbidden)
    result = arrays("--calbench-report=secret", suite=GREEN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--calbench-report: secret: Permission denied"])


def test_nothing_is_left_in_a_folder_that_can_be_written(arrays, pytester):
    arrays("--calbench-report=new/report", "-k", "nothing", suite=GREEN)
    assert not (pytester.path / "new").exists()


def test_a_report_that_cannot_be_written_after_all_is_said(arrays, pytester):
    (pytester.path / "report" / "results.json").mkdir(parents=True)
    result = arrays("--calbench-report=report", suite=GREEN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["report not written, or not all of it: *"])


def test_a_failed_gate_goes_before_a_report_that_cannot_be_written(arrays, pytester):
    (pytester.path / "report" / "results.json").mkdir(parents=True)
    assert arrays("--calbench-report=report").ret == pytest.ExitCode.TESTS_FAILED
