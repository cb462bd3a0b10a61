"""The transfer experiment against arms computed by hand."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from calbench import Predictions, calibrators, metrics
from calbench.errors import InputError, LeakageError
from calbench.gates import FittedSplit, Split, compare, transfer
from calbench.statistics import Resamples

RNG = np.random.default_rng(0)
N = 1200
IDS = [f"i{n:04}" for n in range(N)]
TRUE = RNG.normal(size=(N, 3)) * 1.5
LABELS = np.array([RNG.choice(3, p=p) for p in calibrators.softmax(TRUE)])
REFERENCE = Predictions(IDS, 2.5 * TRUE, LABELS)
CANDIDATE = Predictions(IDS, 2.0 * TRUE + RNG.normal(size=TRUE.shape), LABELS)
CALIBRATION = IDS[:500]


def run(calibrator="temperature", reference=REFERENCE, candidate=CANDIDATE, **options):
    return transfer(
        reference,
        candidate,
        calibrator,
        calibration_ids=CALIBRATION,
        n_resamples=300,
        **options,
    )


def test_arms_are_what_their_names_say():
    result = run()
    test = [item for item in IDS if item not in set(CALIBRATION)]
    parts = {
        name: (record.take(CALIBRATION), record.take(test))
        for name, record in (("reference", REFERENCE), ("candidate", CANDIDATE))
    }
    fits = {
        name: calibrators.get("temperature").fit(fit.logits, fit.labels) for name, (fit, _) in parts.items()
    }
    labels = parts["reference"][1].labels
    probs = {
        "raw_reference": parts["reference"][1].probs,
        "raw_candidate": parts["candidate"][1].probs,
        "calibrated_reference": fits["reference"](parts["reference"][1].logits),
        "transferred": fits["reference"](parts["candidate"][1].logits),
        "refitted": fits["candidate"](parts["candidate"][1].logits),
    }
    for arm, expected in probs.items():
        for metric in ("ece", "nll", "brier", "accuracy"):
            value = result.estimate(metric, arm=arm).value
            assert value == pytest.approx(metrics.get(metric)(expected, labels), abs=1e-12)
    ece = {arm: result.estimate("ece", arm=arm).value for arm in probs}
    assert result.contrast("degradation", "ece").value == pytest.approx(
        ece["transferred"] - ece["calibrated_reference"]
    )
    assert result.contrast("regret", "ece").value == pytest.approx(ece["transferred"] - ece["refitted"])
    assert result.contrast("benefit", "ece").value == pytest.approx(ece["raw_candidate"] - ece["transferred"])
    assert (result.n_calibration, result.n_test) == (500, 700)


def test_row_order_changes_nothing():
    order = RNG.permutation(N)
    shuffled = CANDIDATE.take([IDS[i] for i in order])
    again = run(candidate=shuffled)
    assert again.contrast("degradation", "ece") == run().contrast("degradation", "ece")
    assert again.estimate("nll", arm="refitted") == run().estimate("nll", arm="refitted")


def test_same_seed_same_result_and_split():
    first, second = (transfer(REFERENCE, CANDIDATE, n_resamples=100, seed=3) for _ in range(2))
    assert first.contrast("degradation", "ece") == second.contrast("degradation", "ece")
    assert (first.n_calibration, first.n_test) == (480, 720)


def test_a_model_against_itself_loses_nothing():
    result = run(candidate=REFERENCE)
    for estimate in (result.contrast(c, m) for c in ("degradation", "regret") for m in ("ece", "nll")):
        assert (estimate.value, estimate.interval) == (0.0, (0.0, 0.0))


def test_a_calibrator_that_hurts_is_flagged():
    # The quantized model is already calibrated, so the reference's large temperature ruins it.
    result = run(candidate=Predictions(IDS, TRUE, LABELS))
    assert result.contrast("benefit", "ece").value < 0
    assert any("hurts: ece" in warning for warning in result.warnings)


def test_a_collapsed_model_is_not_called_better():
    collapsed = Predictions(IDS, 1e-3 * RNG.normal(size=TRUE.shape), LABELS)
    result = run("identity", candidate=collapsed)
    assert result.contrast("degradation", "ece").value < 0
    assert any("less informative" in warning for warning in result.warnings)


def test_other_items_are_refused():
    with pytest.raises(InputError, match="1 are in one only, such as 'i1199'"):
        run(candidate=CANDIDATE.take(IDS[:-1]))


def test_other_labels_are_refused():
    labels = LABELS.copy()
    labels[7] = (labels[7] + 1) % 3
    with pytest.raises(
        InputError, match=r"'i0007' has the label \d in the reference and \d in the candidate"
    ):
        run(candidate=Predictions(IDS, CANDIDATE.logits, labels))


def test_fitting_on_scored_items_is_refused():
    with pytest.raises(LeakageError, match=r"1 items.*'i0005'"):
        FittedSplit.of(
            REFERENCE,
            Split(tuple(IDS[:6]), tuple(IDS[5:])),
            resamples=Resamples.draw(IDS[5:], n_resamples=10, seed=np.random.default_rng(0)),
        )


def test_an_empty_split_is_refused():
    with pytest.raises(InputError, match="leaves a split empty"):
        transfer(REFERENCE.take(IDS[:1]), CANDIDATE.take(IDS[:1]))
    with pytest.raises(InputError, match="every item is in calibration_ids"):
        transfer(REFERENCE, CANDIDATE, calibration_ids=IDS)


def test_an_item_to_fit_on_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="no item is called 'i9999'"):
        transfer(REFERENCE, CANDIDATE, calibration_ids=["i9999"])


def test_any_metric_may_be_asked_for():
    assert run().decide("smece", max_increase=1.0).outcome == "pass"


def test_nothing_is_held_back_from_what_needs_no_fitting():
    result = transfer(REFERENCE, CANDIDATE, "identity", n_resamples=100)
    assert (result.n_calibration, result.n_test) == (0, N)


def test_another_calibrator_is_an_arm_on_the_same_items():
    result = run()
    assert result.difference("ece", against="identity") == result.difference("ece", against="raw_candidate")
    with pytest.raises(LookupError, match="nor is it a calibrator: no calibrator is called 'temprature'"):
        result.require("ece", max_increase=1, against="temprature")


def test_a_record_says_how_many_of_its_items_are_for_fitting():
    told = Predictions(IDS, REFERENCE.logits, LABELS, metadata={"n_calibration": 100})
    assert transfer(told, CANDIDATE, n_resamples=100).n_calibration == 100


def test_the_gate_fails_on_a_real_regression_and_passes_within_the_margin():
    noisy = Predictions(IDS, 6.0 * TRUE, LABELS)
    assert run("identity", candidate=noisy).decide("nll", max_increase=0.02).outcome == "fail"
    assert run("identity", candidate=noisy).decide("nll", max_increase=10.0).outcome == "pass"


class Certain:
    """A third party's calibrator that is always sure, and registered nowhere."""

    def fit(self, logits, labels, *, context):
        return lambda z: np.eye(z.shape[1])[np.argmax(z, axis=1)]


def test_a_calibrator_need_not_be_registered():
    result = run(Certain())
    assert result.calibrator == "Certain"
    accuracy = result.estimate("accuracy")
    assert accuracy == result.estimate("accuracy", arm="raw_candidate")
    assert result.estimate("ece").value == pytest.approx(1 - accuracy.value)


def test_an_arm_that_does_not_exist_is_refused():
    with pytest.raises(LookupError, match="no arm is called 'raw_ref'; did you mean 'raw_reference'"):
        run().decide("ece", max_increase=0, against="raw_ref")


def test_one_question_has_one_number_by_every_door(tmp_path):
    """Python, records that were imported, and a report: the same items, seed and margin."""
    from calbench.report import cells_of_records
    from calbench.runs import Cell, ImportedRunner

    facts = {"model": "m", "task": "t"}
    records = {
        name: Predictions(IDS, record.logits, LABELS, metadata={**facts, "quantizer": name})
        for name, record in (("fp32", REFERENCE), ("int4", CANDIDATE))
    }
    for calibrator in ("temperature", "identity"):
        straight = transfer(records["fp32"], records["int4"], calibrator).contrast("degradation", "ece")
        measured = ImportedRunner.of(records).transfer(Cell("m", "t", "int4", calibrator))
        assert measured.comparison.contrast("degradation", "ece") == straight
        (row,) = [r for r in cells_of_records(records, calibrators=[calibrator]).rows if r["gates"]]
        assert row["gates"][0]["delta"] == straight.value
        assert row["gates"][0]["margin"] == 0.02
    both = compare(records["fp32"], records["int4"]).difference("ece")
    # of the identity: what is compared as it is
    assert (both.value, both.interval, both.n) == (straight.value, straight.interval, straight.n)


@pytest.mark.parametrize("clusters", [None, [f"p{i // 6}" for i in range(N)]], ids=["items", "clusters"])
def test_one_record_has_one_interval_by_every_door(tmp_path, capsys, monkeypatch, clusters):
    """Alone or beside another, in Python or on the command line."""
    from calbench import cli, evaluate

    record, other = (
        Predictions(IDS, of.logits, LABELS, cluster_ids=clusters, metadata={"model": "m", "task": "t"})
        for of in (REFERENCE, CANDIDATE)
    )
    record.write(tmp_path / "m.parquet")
    names = ["ece", "brier", "auroc_confidence"]
    alone = evaluate(record, names)
    values = {name: pytest.approx((*alone[name].interval, alone[name].value), abs=1e-12) for name in names}
    both = compare(record, other)
    beside = {name: both.estimate(name, arm="reference") for name in names}
    assert {name: (*found.interval, found.value) for name, found in beside.items()} == values
    assert evaluate(record.take(IDS[::-1]), names) == alone

    def printed(*line):
        arguments = [*line, str(tmp_path / "m.parquet"), f"--metrics={','.join(names)}"]
        monkeypatch.setattr(sys, "argv", ["calbench", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        return json.loads(capsys.readouterr().out)

    said = printed("evaluate", "--json")["metrics"]
    assert {name: (*said[name]["interval"], said[name]["value"]) for name in names} == values
    exported = printed("export", "results", "--task=t")["calbench"]["intervals"]
    assert exported == {name: said[name]["interval"] for name in names}


def test_a_cluster_is_fitted_on_or_scored_and_never_both():
    clusters = np.arange(N) // 4
    assert transfer(
        REFERENCE, CANDIDATE, calibration_ids=IDS[:500], clusters=clusters, n_resamples=100
    ).n_test == (N - 500)
    with pytest.raises(LeakageError, match="clusters are both fitted on and scored"):
        transfer(REFERENCE, CANDIDATE, calibration_ids=IDS[:501], clusters=clusters)
    divided = transfer(REFERENCE, CANDIDATE, clusters=clusters, n_resamples=100)
    assert (divided.n_calibration, divided.n_test) == (480, 720)
    with pytest.raises(InputError, match="clusters has 3 values for 1200 items"):
        transfer(REFERENCE, CANDIDATE, clusters=[1, 2, 3])
