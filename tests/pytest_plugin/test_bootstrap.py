"""``--calbench-level``, ``--calbench-resamples``, ``--calbench-bootstrap-seed``: how sure, and drawn how."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import ARRAYS, gates, results

BRIER = ARRAYS.replace('"ece"', '"brier"')


def measured(arrays, pytester, *options):
    arrays("--calbench-report=report", "--calbench-inconclusive=pass", *options, suite=BRIER)
    return gates(results(pytester))["test_surer"]


def test_a_higher_level_is_a_wider_interval(arrays, pytester, workers):
    usual = measured(arrays, pytester)
    strict = measured(arrays, pytester, "--calbench-level=0.999", *workers)
    assert (usual["level"], strict["level"]) == (0.95, 0.999)
    assert strict["interval"][0] < usual["interval"][0] < usual["interval"][1] < strict["interval"][1]


def test_a_requirement_may_have_a_level_of_its_own(arrays, pytester):
    suite = BRIER.replace("max_increase=0.02)", "max_increase=0.02, level=0.8)")
    arrays("--calbench-report=report", suite=suite)
    assert {gate["level"] for gate in gates(results(pytester)).values()} == {0.8}


@pytest.mark.parametrize("option", ["--calbench-resamples=150", "--calbench-bootstrap-seed=7"])
def test_other_resamples_move_intervals_and_no_value(arrays, pytester, option, workers):
    usual = measured(arrays, pytester)
    other = measured(arrays, pytester, option, *workers)
    assert other["delta"] == usual["delta"]
    assert other["interval"] != usual["interval"]


def test_worker_processes_are_told_all_three(arrays, pytester):
    options = ("--calbench-level=0.9", "--calbench-resamples=150", "--calbench-bootstrap-seed=7")
    alone = measured(arrays, pytester, *options)
    assert measured(arrays, pytester, *options, "-n", "2") == alone
    assert results(pytester)["settings"]["n_resamples"] == 150


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--calbench-level=95", "*--calbench-level: '95': write a share between 0 and 1*"),
        ("--calbench-resamples=3", "*--calbench-resamples: '3': write a whole number from 100*"),
        ("--calbench-bootstrap-seed=-1", "*--calbench-bootstrap-seed: '-1'*0 or more*"),
    ],
)
def test_values_out_of_range_are_refused(arrays, option, message):
    result = arrays(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
