"""``--calbench-inconclusive``: what becomes of a gate that cannot be decided."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("mode", ["pass", "warn", "fail"])
def test_three_outcomes_are_counted(arrays, mode, workers):
    result = arrays(f"--calbench-inconclusive={mode}", *workers)
    result.assert_outcomes(passed=1 if mode == "fail" else 2, failed=2 if mode == "fail" else 1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["gates: 1 passed, 1 failed, 1 inconclusive"])
    shown = [line for line in result.outlines if line.startswith("inconclusive: too few test items")]
    assert len(shown) == (mode != "pass")


def test_only_fail_makes_an_undecided_run_red(arrays):
    for mode, code in (("pass", 0), ("warn", 0), ("fail", 1)):
        result = arrays(f"--calbench-inconclusive={mode}", "-k", "surer")
        assert result.ret == code
    result.stdout.fnmatch_lines(
        ["*ece may have got worse by more than the margin*", "*test items would decide it*"]
    )


def test_other_words_are_refused(arrays):
    result = arrays("--calbench-inconclusive=maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--calbench-inconclusive: 'maybe': choose from pass, warn, fail*"])
