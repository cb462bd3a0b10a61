"""The end of a run: the verdict in at most 40 lines, tables with ``-v``, and what was left out by name."""

from __future__ import annotations

import pytest

from calbench._pytest._counts import (
    harm_lines,
    headline,
    left_out_lines,
    skip_lines,
    stale_lines,
    unasked_lines,
    verdict_lines,
)
from calbench._pytest._log import TestLog
from calbench.escaping import encodable
from calbench.report import Judged
from tests.pytest_plugin.conftest import ARRAYS
from tests.report.rows import row

MANY = """
import numpy as np
import pytest

rng = np.random.default_rng(0)
fp32 = 2 * rng.normal(size=(400, 3))
labels = np.argmax(fp32 + rng.gumbel(size=fp32.shape), axis=1)

@pytest.mark.parametrize("scale", [1.15] * 60 + [3.0] * 60)
def test_it(calbench, scale):
    calbench.compare(fp32, scale * fp32, labels).require("ece", max_increase=0.02)
"""


def section(result):
    lines = result.outlines
    first = next(i for i, line in enumerate(lines) if "= calbench: " in line)
    last = next(i for i, line in enumerate(lines) if i > first and line.startswith("="))
    return lines[first:last]


def test_the_verdict_of_a_large_red_run_takes_at_most_40_lines(arrays):
    result = arrays("--calbench-report=report", "--tb=no", suite=MANY)
    lines = section(result)
    assert "60 of 120 gates FAILED" in lines[0]
    assert lines[1] == "gates: 0 passed, 60 failed, 60 inconclusive"
    assert lines[2].startswith("FAILED test_it[3.0_0]: ece +0.")
    assert "> +0.02" in lines[2]
    assert any(line == "FAILED and 52 more, in report.html" for line in lines)
    assert lines[-1].startswith("report: report/report.html")
    assert len(lines) <= 40


def test_every_kind_of_line_together_fits_40_lines():
    class Options:
        inconclusive, correction, report = "warn", "none", None

    rows = [row(f"q{i}", outcome=o) for i in range(20) for o in ("pass", "fail", "inconclusive")]
    for each in rows:
        each["gates"][0]["level"] = 0.95
    gates = [Judged(each["cell"], each["quantizer"], each["gates"][0]) for each in rows]
    logs = [TestLog(skipped=[(f"q{i}", f"reason {i}")]) for i in range(20)]
    lines = [
        *verdict_lines(gates, Options),
        *stale_lines([(f"t{i}", "x", False) for i in range(20)]),
        *harm_lines([row(benefit=-0.5)]),
        *skip_lines(logs),
        *left_out_lines({"training": 12, "native": 2}),
        *unasked_lines(6),
    ]
    besides = 5  # the headline, two notes on baselines, the report, the store
    assert len(lines) + besides <= 40
    assert headline(gates, Options) == "20 of 60 gates FAILED"


def test_a_test_that_breaks_is_not_counted_among_gates_that_hold(arrays):
    suite = ARRAYS.replace("labels).require", "labels[1:]).require", 1)
    result = arrays("--tb=no", "-k", "same or surer", suite=suite)
    assert "calbench: 1 test FAILED by an error" in section(result)[0]


def test_an_error_after_an_open_gate_is_an_error(arrays):
    suite = ARRAYS.replace(
        "def test_broken", "    calbench.compare(fp32, same, labels[1:])\n\ndef test_broken"
    )
    result = arrays("--tb=no", "-k", "surer", suite=suite)
    assert "calbench: 1 test FAILED by an error" in section(result)[0]
    assert "0 failed, 1 inconclusive" in section(result)[1]


def test_tables_are_printed_with_v_only(project):
    project("-k", "coin").stdout.no_fnmatch_line("*tiny on coin*")
    project("-k", "coin", "-v").stdout.fnmatch_lines(["*tiny on coin*"])


def test_quantizers_are_counted_apart(project):
    lines = section(project(margin=1.0))
    assert [line.split()[:3] for line in lines[2:5]] == [
        ["fp32", "4", "passed"],
        ["bnb-int8", "4", "passed"],
        ["bnb-nf4", "4", "passed"],
    ]


def test_an_ascii_terminal_can_read_all_of_it(arrays, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONUTF8", "0")
    text = "\n".join(section(arrays("--tb=no", suite=ARRAYS)))
    assert text.isascii()


@pytest.mark.parametrize(
    ("text", "plain"), [("│ 0.05▼ ✗nll ┃", "| 0.05v FAILnll |"), ("━┓", "-+"), ("né", r"n\xe9")]
)
def test_marks_and_frames_have_words_in_ascii(text, plain):
    assert encodable(text, "ascii") == plain
    assert encodable(text, "utf-8") == text


TRAINING = """
import pytest
import calbench

@pytest.mark.training
@calbench.grid(models="tiny", tasks="coin", quantizers="bnb-nf4", calibrators="identity")
def test_long(calbench):
    calbench.transfer().require("ece", max_increase=1)

@calbench.grid(models="tiny", tasks="coin", quantizers="bnb-nf4", calibrators="temperature")
def test_short(calbench):
    calbench.transfer().require("ece", max_increase=1)

@pytest.mark.training
def test_of_others():
    pass
"""


def test_what_trains_is_left_out_and_said_unless_it_is_named(project):
    result = project(suite=TRAINING)
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["1 deselected: training; run with -m training"])
    named = project("-m", "training", suite=TRAINING)
    named.assert_outcomes(passed=2, deselected=1)
    named.stdout.no_fnmatch_line("*deselected: training*")
    project("test_suite.py", suite=TRAINING).assert_outcomes(passed=3)
