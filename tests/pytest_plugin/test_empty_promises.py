"""What looks like a gate and is none is an error: no requirement, nothing accepted, nothing selected."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import SUITE

CELL = ("-k", "coin-bnb-nf4-temperature")


def test_a_grid_test_that_requires_nothing_fails(project):
    suite = SUITE.replace('calbench.transfer().require("ece", max_increase=MARGIN)', "calbench.transfer()")
    result = project(*CELL, suite=suite)
    result.assert_outcomes(failed=1, deselected=11)
    result.stdout.fnmatch_lines(["tiny-coin-bnb-nf4-temperature: this test of a grid requires nothing*"])


def test_a_grid_test_that_looks_at_the_numbers_is_taken_at_its_word(project):
    suite = SUITE.replace(
        'calbench.transfer().require("ece", max_increase=MARGIN)',
        'assert calbench.transfer().estimate("ece").value < 1',
    )
    project(*CELL, suite=suite).assert_outcomes(passed=1, deselected=11)


@pytest.mark.parametrize(
    ("glob", "said"),
    [("tiny-coin-*", "accepts nothing: all its gates pass*"), ("tyni-*", "fits no cell; correct it*")],
)
def test_an_accepted_glob_that_accepts_nothing_makes_the_run_red(project, glob, said):
    suite = SUITE.replace("max_increase=MARGIN", f"max_increase=1, accepted={{{glob!r}: 'known'}}")
    result = project(suite=suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"accepted '{glob}' of *test_suite.py::test_transfer {said}"])
    # Of a part of the cells nothing can be said.
    assert project(*CELL, suite=suite).ret == 0


def test_a_selection_of_nothing_is_a_usage_error(project):
    suite = SUITE.replace(
        'models="tiny", quantizers="fp32,bnb-int8,bnb-nf4"', 'models="tiny", quantizers="fp32"'
    )
    result = project("--calbench-quantizers=bnb-nf4", suite=suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--calbench-quantizers=bnb-nf4: this selects no cell of any grid here"])


def test_another_quantizer_is_one_more_arm(project):
    suite = SUITE.replace("max_increase=MARGIN", "max_increase=1, against='quantizer:bnb-int8'")
    project("--calbench-report=report", *CELL, suite=suite).assert_outcomes(passed=1, deselected=11)


def test_a_calbench_toml_of_a_folder_below_is_named_where_it_is_not_read(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    folder = pytester.mkdir("ci")
    (folder / "calbench.toml").write_text('[models.own]\nlocation = "x"\n')
    suite = (
        "import calbench\n\n@calbench.grid(models='own')\ndef test_it(calbench):\n    calbench.transfer()\n"
    )
    (folder / "test_own.py").write_text(suite)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "ci")
    result.stdout.fnmatch_lines(
        ["*no model is called 'own'*", "*calbench.toml is not read, *: cd *ci and run*"]
    )
