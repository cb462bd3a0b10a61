"""``calbench verify``: every verdict of a report computed again, and what was changed since is noticed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from calbench import Predictions, cli

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.normal(size=(600, 3))
LABELS = np.argmax(LOGITS + RNG.gumbel(size=LOGITS.shape), axis=1)
SUITE = """
import calbench

@calbench.grid(quantizers="not fp32", calibrators="identity,temperature")
def test_it(calbench):
    transfer = calbench.transfer()
    transfer.require("ece", max_increase=0.5)
    transfer.require("nll", max_relative_increase=9, against="platt", level=0.9)
    transfer.require("accuracy", at_least=0.2, arm="raw_candidate")
    transfer.require("brier", contrast="regret", max_increase=1)
"""


@pytest.fixture
def report(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    for quantizer, scale in (("fp32", 1.0), ("q4", 1.2)):
        metadata = {"model": "m", "task": "t", "quantizer": quantizer}
        record = Predictions(range(600), scale * LOGITS, LABELS, metadata)
        record.write(pytester.path / "records" / f"{quantizer}.parquet")
    pytester.makepyfile(test_suite=SUITE)
    options = ("--calbench-records=records", "--calbench-resamples=200", "--calbench-report=report")
    pytester.runpytest_inprocess("-p", "no:cacheprovider", *options).assert_outcomes(passed=2)
    return pytester.path / "report"


@pytest.fixture
def verify(monkeypatch, capsys, report):
    def run(*arguments):
        line = ["calbench", "verify", str(report), "--store", str(report.parent / "store"), *arguments]
        monkeypatch.setattr(sys, "argv", line)
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().out

    return run


def test_verdicts_are_computed_again_from_the_records(verify):
    code, out = verify("--records", "records")
    assert "12 the same, 0 differ, 0 missing, 0 that stored records cannot tell" in out
    assert code == 0


def test_missing_records_are_said_and_are_no_success(verify):
    code, out = verify()
    assert code == 3
    assert "missing" in out
    assert "0 differ, 10 missing" in out


@pytest.mark.parametrize(("part", "value"), [("outcome", "fail"), ("delta", 0.3), ("margin", 0.99)])
def test_a_verdict_that_was_changed_differs_even_if_the_hash_was_made_anew(verify, report, part, value):
    from calbench.store import key_of

    path = report / "evidence.json"
    said = json.loads(path.read_text())
    said["gates"][0][part] = value
    path.write_text(json.dumps(said))
    assert "DIFFERS evidence.json: its hash is" in verify("--records", "records")[1]
    said["sha256"] = key_of({key: part for key, part in said.items() if key != "sha256"})
    path.write_text(json.dumps(said))
    code, out = verify("--records", "records")
    assert code == 1
    assert "DIFFERS m-t-q4-identity" in out
    assert "1 differ" in out


def test_results_that_were_edited_differ(verify, report):
    path = report / "results.json"
    path.write_text(path.read_text().replace('"seed": 42', '"seed": 43'))
    code, out = verify("--records", "records")
    assert code == 1
    assert "DIFFERS results.json" in out


def test_a_folder_without_evidence_is_refused_with_what_writes_it(verify, report, capsys):
    (report / "evidence.json").unlink()
    assert verify()[0] == 2


def test_verified_verdicts_are_written_as_an_in_toto_statement(verify, report):
    statements = pytest.importorskip("in_toto_attestation.v1.statement")
    from google.protobuf.json_format import ParseDict

    path = report / "statement.json"
    assert verify("--records", "records", "--attest", str(path))[0] == 0
    said = json.loads(path.read_text())
    statement = statements.Statement([], "", {})
    ParseDict(said, statement.pb)
    statement.validate()
    gates = json.loads((report / "evidence.json").read_text())["gates"]
    predicate = said["predicate"]
    assert {each["name"] for each in said["subject"]} == {"m::t::q4"}
    assert len(predicate["passedTests"]) == sum(gate["outcome"] == "pass" for gate in gates)
    assert len(predicate["warnedTests"]) == sum(gate["outcome"] == "inconclusive" for gate in gates)
    assert predicate["result"] == ("WARNED" if predicate["warnedTests"] else "PASSED")


def test_what_was_not_verified_is_not_attested_to(verify, report):
    path = report / "statement.json"
    assert verify("--attest", str(path))[0] not in (0, 3)
    assert not path.exists()


def test_cross_fitted_verdicts_are_computed_again_in_their_folds(verify, report, pytester):
    pytester.makepyfile(test_suite=SUITE.replace('contrast="regret"', 'contrast="degradation"'))
    options = ("--calbench-records=records", "--calbench-resamples=200", "--calbench-report=report")
    run = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options, "--calbench-folds=4")
    run.assert_outcomes(passed=2)
    code, out = verify("--records", "records")
    assert "0 differ, 0 missing" in out
    assert code in (0, 3)
