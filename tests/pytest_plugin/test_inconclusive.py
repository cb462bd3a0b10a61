"""``--calbench-inconclusive``: what becomes of a gate that cannot be decided."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from calbench._pytest._counts import verdict_lines
from calbench.report import Judged
from tests.report.rows import row


@pytest.mark.parametrize("mode", ["pass", "warn", "fail"])
def test_three_outcomes_are_counted(arrays, mode, workers):
    result = arrays(f"--calbench-inconclusive={mode}", *workers)
    result.assert_outcomes(passed=2 if mode == "pass" else 1, failed=2 if mode == "fail" else 1)
    counted = any("1 inconclusive in " in line for line in result.outlines)
    assert counted == (mode == "warn")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["gates: 1 passed, 1 failed, 1 inconclusive"])
    shown = [line for line in result.outlines if line.startswith("? test_surer: ece ")]
    assert len(shown) == (mode != "pass")


def test_only_fail_makes_an_undecided_run_red(arrays):
    for mode, code in (("pass", 0), ("warn", 0), ("fail", 1)):
        result = arrays(f"--calbench-inconclusive={mode}", "-k", "surer")
        assert result.ret == code
    result.stdout.fnmatch_lines(
        ["*ece may have got worse by more than the margin*", "*test items would decide it*"]
    )


def test_an_undecided_test_is_shown_as_such_and_named_with_what_would_decide_it(arrays, pytester):
    result = arrays("-v", "--junitxml=junit.xml", "-k", "surer")
    result.stdout.fnmatch_lines(
        [
            "test_arrays.py::test_surer INCONCLUSIVE*",
            "*calbench: nothing failed, 1 of 1 gates UNDECIDED*",
            "[?] test_surer: ece * in *, limit +0.02: about * items would decide it",
            "*1 inconclusive*",
        ]
    )
    result.stdout.no_fnmatch_line("*PASSED*")
    assert 'name="calbench.outcome" value="inconclusive"' in (pytester.path / "junit.xml").read_text()
    arrays("-k", "surer").stdout.fnmatch_lines(["test_arrays.py [?] *"])


def inconclusive_gates(needed, n_open):
    every = [*needed, *[None] * (n_open - len(needed))]
    (gate,) = row(outcome="inconclusive")["gates"]
    return [Judged(f"cell{i}", "bnb-nf4", {**gate, "items_needed": n}) for i, n in enumerate(every)]


@pytest.mark.parametrize(
    ("needed", "n_open", "text"),
    [
        ([2332], 3, "about 2,332 would decide 1 of them"),
        ([500, 500], 2, "about 500 would decide them"),
        (
            [7606, 1676],
            2,
            "about 1,676 to 7,606 would decide them one by one, half of them with 1,676 or fewer",
        ),
        ([500, 10**33], 2, "about 500 would decide 1 of them"),
        ([1, 2, 3], 4, "about 1 to 3 would decide 3 of them one by one, half of them with 2 or fewer"),
    ],
)
def test_the_summary_says_how_many_items_would_decide(needed, n_open, text):
    options = SimpleNamespace(inconclusive="warn", correction="none", report=None)
    gates = inconclusive_gates(needed, n_open)
    said = [line.text for line in verdict_lines(gates, options)]
    assert f"inconclusive: too few test items to tell; {text}" in said


def test_a_gate_that_no_number_of_items_decides_says_so():
    (gate,) = inconclusive_gates([10**33], 1)
    assert gate.remedy() == "no number of items in reach; choose another limit"


@pytest.mark.parametrize(
    ("needed", "text"),
    [
        (2_698, "out of items; about 2,698 would decide it"),
        (84_461, "too near the margin; about 84,461 would decide it, or another limit"),
    ],
)
def test_a_gate_that_ran_out_of_items_says_whether_a_larger_file_would_help(needed, text):
    (gate,) = inconclusive_gates([needed], 1)
    assert replace(gate, gate={**gate.gate, "n": 1_349, "stopped": "out of items: ..."}).remedy() == text


def test_other_words_are_refused(arrays):
    result = arrays("--calbench-inconclusive=maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--calbench-inconclusive: 'maybe': choose from pass, warn, fail*"])
