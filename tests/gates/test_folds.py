"""Cross-fitting: all items are scored, none by a calibrator that saw it."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import Predictions, calibrators
from calbench.errors import InputError
from calbench.gates import CrossFitted, cross_fits, fold_of, transfer
from calbench.records import TopLabelPredictions

RNG = np.random.default_rng(3)
N = 600
IDS = [f"i{n:03}" for n in range(N)]
TRUE = RNG.normal(size=(N, 3)) * 1.5
LABELS = np.array([RNG.choice(3, p=p) for p in calibrators.softmax(TRUE)])
REFERENCE = Predictions(IDS, 2.0 * TRUE, LABELS)
CANDIDATE = Predictions(IDS, 1.5 * TRUE + RNG.normal(size=TRUE.shape), LABELS)
LEARNS_LITTLE = {"temperature", "platt", "beta", "pacs", "pacs_temperature", "quantile_temperature"}


def crossed(calibrator="temperature", folds=5, **options):
    return transfer(REFERENCE, CANDIDATE, calibrator, folds=folds, n_resamples=100, **options)


@pytest.mark.parametrize("arm", ["calibrated_reference", "transferred"])
def test_each_item_is_scored_by_a_fit_on_the_other_folds(arm):
    found = crossed().arm(arm)
    fitted_on, scored = {
        "calibrated_reference": (REFERENCE, REFERENCE),
        "transferred": (REFERENCE, CANDIDATE),
    }[arm]
    folds = np.array([fold_of(item, 5) for item in IDS])
    for fold in range(5):
        others = folds != fold
        fit = calibrators.get("temperature").fit(fitted_on.logits[others], LABELS[others])
        expected = fit(scored.logits[~others]).max(axis=1)
        np.testing.assert_array_equal(found.outcomes.confidences[~others], expected)


def test_the_calibrator_that_is_kept_is_fitted_on_all_items():
    on_all = calibrators.get("temperature").fit(REFERENCE.logits, LABELS)
    kept = crossed().arm("transferred").fitted
    assert kept.to_dict() == on_all.to_dict()
    assert np.array_equal(kept(CANDIDATE.logits), on_all(CANDIDATE.logits))
    assert (kept.n_parameters, kept.size_bytes, kept.warnings) == (1, on_all.size_bytes, ())


def test_all_items_are_test_items_and_the_verdict_says_how():
    moved = crossed()
    assert (moved.n_test, moved.n_calibration, moved.folds) == (N, N, 5)
    decision = moved.decide("ece_shared_bins", max_increase=0.02)
    said = moved.explain(decision)
    assert "n = 600 test items" in said
    assert "fitted on 600 items" in said
    assert "5 folds: each item is scored by a fit on the other folds" in said
    assert decision.to_plain()["folds"] == 5


def test_other_items_never_move_an_item_to_another_fold():
    fewer = [fold_of(item, 5) for item in IDS[:100]]
    assert [fold_of(item, 5) for item in IDS][:100] == fewer
    assert set(fewer) == set(range(5))


def test_a_cluster_is_never_divided():
    clusters = [f"c{i % 40}" for i in range(N)]
    side = CrossFitted.divided(
        REFERENCE,
        5,
        resamples=crossed().arm("raw_reference").resamples,
        clusters=dict(zip(IDS, clusters, strict=True)),
    )
    for cluster in set(clusters):
        assert len({fold for fold, of in zip(side.folds, clusters, strict=True) if of == cluster}) == 1
    moved = crossed(clusters=clusters)
    assert "in 40 clusters" in moved.explain(moved.decide("ece", max_increase=0.5))


def test_top_answers_alone_are_cross_fitted_too():
    records = [
        TopLabelPredictions(IDS, r.probs.max(axis=1), r.probs.argmax(axis=1) == LABELS)
        for r in (REFERENCE, CANDIDATE)
    ]
    moved = transfer(*records, "beta", folds=5, n_resamples=100)
    assert moved.n_test == N
    assert moved.arm("transferred").values["ece"] < moved.arm("raw_candidate").values["ece"]


@pytest.mark.parametrize("name", calibrators.names())
def test_only_calibrators_that_learn_little_are_cross_fitted(name):
    assert cross_fits(name) is (name in LEARNS_LITTLE), "its class and LEARNS_LITTLE, above, do not agree"


@pytest.mark.parametrize(
    "name", ["platt[form=one-vs-rest]", "beta[form=one-vs-rest]", "histogram", "dirichlet"]
)
def test_a_calibrator_that_learns_much_is_refused_with_the_reason(name):
    with pytest.raises(InputError, match="learns too many numbers to be cross-fitted"):
        crossed(name)


def test_identity_fits_nothing_and_has_no_folds():
    moved = crossed("identity")
    assert (moved.n_test, moved.n_calibration, moved.folds) == (N, 0, 1)


@pytest.mark.parametrize("folds", [-1, 0, 21])
def test_a_number_of_folds_that_makes_no_sense_is_refused(folds):
    with pytest.raises(InputError, match=f"folds={folds} does not divide 600 items; give 2 to 20"):
        crossed(folds=folds)


def test_an_empty_fold_is_refused():
    few = [record.take(IDS[:6]) for record in (REFERENCE, CANDIDATE)]
    with pytest.raises(InputError, match="does not divide 6 items"):
        transfer(*few, folds=6)


def test_the_regret_is_refused_with_the_reason():
    for ask in (lambda m: m.contrast("regret", "nll"), lambda m: m.estimate("ece", arm="refitted")):
        with pytest.raises(InputError, match="the regret, is not cross-fitted"):
            ask(crossed())


def test_named_calibration_items_and_folds_exclude_each_other():
    with pytest.raises(InputError, match="calibration_ids names one split"):
        crossed(calibration_ids=IDS[:100])


def test_a_third_partys_calibrator_is_cross_fitted_if_it_says_that_it_learns_little():
    class Halves:
        cross_fits = True

        def fit(self, logits, labels):
            return lambda z: calibrators.softmax(z / 2)

    assert cross_fits(calibrators.adapted(Halves()))
    assert crossed(Halves()).n_test == N
