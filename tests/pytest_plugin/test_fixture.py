"""The fixture in anybody's test file: arrays or records, without a suite, a model or a store."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from tests.pytest_plugin.conftest import ARRAYS, results


def test_arrays_are_gated_and_explained(arrays, pytester, monkeypatch, workers):
    page = pytester.path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    result = arrays("--calbench-report=report", *workers)
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "ece got worse by more than the margin +0.02",
            "*reference 0.0* -> candidate 0.*: change +*, 95% interval [[]+*, +*], n = 600 test items",
            "*bins that moved most *",
            "*(0.93, 1.00]: * -> *, +0.*",
            "*new mistakes made with confidence 0.9 or more: * of 600 items, *",
            "*to accept it, give this requirement accepted={'test_broken': 'why'}",
        ]
    )
    result.stdout.fnmatch_lines(
        [
            "gates: 1 passed, 1 failed, 1 inconclusive",
            "FAILED test_broken: ece +0.* > +0.02",
        ]
    )
    result.stdout.no_fnmatch_line("*fixture.py*")
    text = page.read_text()
    assert text.startswith("before\n## calbench")
    assert "* gates: 1 passed, 1 failed, 1 inconclusive" in text
    assert text.count("<details>") == 1
    assert "bins that moved most" in text
    document = results(pytester)
    assert [c["name"] for c in document["comparisons"]] == ["test_broken", "test_same", "test_surer"]
    assert document["cells"] == []


def test_nothing_is_written_and_no_model_code_is_imported(pytester, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(pytester.path / "cache"))
    pytester.makepyfile(
        ARRAYS + "\ndef test_light():\n    import sys\n    assert 'torch' not in sys.modules\n"
    )
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--deselect", "test_broken", "-k", "not broken"
    )
    result.assert_outcomes(passed=2, deselected=1)
    assert not (pytester.path / "cache").exists()


def test_records_are_matched_by_id_and_need_no_class_vector(arrays):
    result = arrays(
        suite="""
from calbench import TopLabelPredictions

ids = list(range(400))
sure = [0.6 + 0.001 * i for i in ids]
right = [i % 4 != 0 for i in ids]
first = TopLabelPredictions(ids, sure, right)
second = TopLabelPredictions(ids[::-1], sure[::-1], right[::-1])

def test_it(calbench):
    both = calbench.compare(first, second)
    both.require("ece", "brier_toplabel", max_increase=0).require("accuracy", max_decrease=0)
    both.require("ece", at_most=0.5).require("accuracy", at_least=0.5)
"""
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gates: 5 passed, 0 failed, 0 inconclusive"])


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ('"nll", max_increase=0.1', "*'nll' needs the probability of every class*"),
        ('"ece", max_decrease=0.1', "*ece is better when it is lower: write max_increase=*"),
        ('"accuracy", at_most=0.1', "*accuracy is better when it is higher: write at_least=*"),
        ('"ece", max_increase=0.1, at_most=0.1', "*exactly one of*not at_most and max_increase*"),
        ('"ece"', "*exactly one of at_most*"),
        ('"eec", at_most=1', "*no metric is called 'eec'; did you mean 'ece'*"),
        ('"overconfidence_gap", max_increase=0.1', "*neither way is better for 'overconfidence_gap'*"),
        ('"ece", at_most=float("nan")', "*at_most=nan; use a finite number*"),
        ('"ece", max_increase=1, against="baseline"', "*no arm is called 'baseline'; there are cand*"),
        ('"ece", at_most=1, level=95', "*level=95; use a share*"),
    ],
)
def test_sentences_that_make_no_sense_are_refused_without_a_traceback(arrays, sentence, message):
    result = arrays(
        suite=f"""
from calbench import TopLabelPredictions

record = TopLabelPredictions(range(40), [0.7] * 40, [True] * 40)

def test_it(calbench):
    calbench.compare(record, record).require({sentence})
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*/calbench/_pytest*")


def test_an_accepted_regression_is_an_expected_failure(arrays):
    suite = ARRAYS.replace("max_increase=0.02)", "max_increase=0.02, accepted={'test_bro*': 'known'})")
    result = arrays(suite=suite)
    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.fnmatch_lines(["gates: 1 passed, 1 failed, 1 inconclusive; 1 accepted"])


def test_a_comparison_may_be_given_a_name(arrays):
    result = arrays("-k", "same", suite=ARRAYS.replace("labels)", "labels, name='int4')"))
    result.stdout.fnmatch_lines(["passed int4: ece +0 in *, limit +0.02, n = *"])


def test_inside_a_test_the_fixture_has_every_name_of_the_module(arrays):
    arrays(
        suite="def test_it(calbench): assert calbench.Predictions is __import__('calbench').Predictions"
    ).assert_outcomes(passed=1)


def test_junit_properties_hold_the_gates(arrays, pytester):
    arrays("--junitxml=junit.xml")
    text = (pytester.path / "junit.xml").read_text()
    assert text.count('name="calbench.gate.ece.max_increase.candidate.reference"') == 3
    assert 'name="calbench.gate.ece.max_increase.candidate.reference.delta"' in text


def test_junit_properties_of_one_test_have_names_of_their_own(arrays, pytester):
    test = """
def test_it(calbench):
    both = calbench.compare(fp32, same, labels)
    both.require("ece", max_increase=0.02).require("ece", max_increase=0.03).require("ece", at_most=0.9)
"""
    arrays("--junitxml=junit.xml", suite=ARRAYS.split("def test_same")[0] + test)
    found = ET.parse(pytester.path / "junit.xml").iter("property")
    names = [element.get("name").removeprefix("calbench.gate.ece.") for element in found]
    assert names == [
        "max_increase.candidate.reference",
        "max_increase.candidate.reference.delta",
        "max_increase.candidate.reference.interval",
        "max_increase.candidate.reference.2",
        "max_increase.candidate.reference.2.delta",
        "max_increase.candidate.reference.2.interval",
        "at_most.candidate",
        "at_most.candidate.value",
        "at_most.candidate.interval",
    ]


def test_a_test_without_requirements_leaves_no_summary(arrays):
    result = arrays(suite="def test_it(calbench): pass")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= calbench: *")


def test_infinite_bounds_are_written_as_json(arrays, pytester):
    suite = ARRAYS.replace("max_increase=0.02", "max_relative_increase=0.05")
    arrays("--calbench-report=report", suite=suite)
    json.loads((pytester.path / "report" / "results.json").read_text())
