"""Calibrators of one probability at a time: Platt, beta, isotonic, histogram, scaling-binning."""

import numpy as np
import pytest

from calbench import calibrators
from calbench.calibrators._array_ops import NUMPY
from calbench.calibrators._confidence import samples, top_log_odds
from calbench.calibrators._inputs import check_fit
from calbench.calibrators._steps import equal_mass_edges
from calbench.errors import InputError
from calbench.records import softmax

from .data import overconfident

METHODS = ("platt", "beta", "isotonic", "histogram", "scaling_binning")


def top_label_data(n=400, seed=0):
    logits, labels = overconfident(n, 3, seed=seed)
    probs = softmax(logits)
    return probs.max(axis=1), probs.argmax(axis=1) == labels, logits, labels


@pytest.mark.parametrize("name", METHODS)
def test_fitting_on_confidences_is_fitting_the_top_label(name):
    confidences, correct, logits, labels = top_label_data()
    from_confidences = calibrators.get(name).fit_confidences(confidences, correct)
    from_logits = calibrators.get(f"{name}[form=top-label]").fit(logits, labels)
    expected = from_logits(logits)[np.arange(len(labels)), logits.argmax(axis=1)]
    # Log-odds of a stored confidence carry its rounding, magnified near 1.
    np.testing.assert_allclose(from_confidences.confidences(confidences), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["isotonic", "histogram"])
def test_a_fit_of_classes_does_not_map_confidences(name):
    fitted = calibrators.get(name).fit(*overconfident())
    with pytest.raises(InputError, match="fit_confidences"):
        fitted.confidences([0.5])


@pytest.mark.parametrize("name", METHODS)
def test_confidences_of_0_and_1_are_handled(name):
    fitted = calibrators.get(name).fit_confidences([0.0, 1.0, 0.5, 1.0] * 10, [False, True, True, False] * 10)
    mapped = fitted.confidences([0.0, 1.0])
    assert np.isfinite(mapped).all()
    assert mapped[0] < 0.3


@pytest.mark.parametrize("name", METHODS)
def test_the_top_label_form_keeps_the_other_classes_in_proportion(name):
    *_, logits, labels = top_label_data()
    probs = calibrators.get(f"{name}[form=top-label]").fit(logits, labels)(logits)
    rows, top = np.arange(len(labels)), logits.argmax(axis=1)
    others = np.array([[k for k in range(3) if k != t] for t in top])
    raw = softmax(logits)
    before = raw[rows, others[:, 0]] / raw[rows, others[:, 1]]
    rest = 1 - probs[rows, top]
    sure = rest > 1e-9
    after = probs[rows, others[:, 0]][sure] / probs[rows, others[:, 1]][sure]
    np.testing.assert_allclose(after, before[sure], rtol=1e-9)


def test_log_odds_do_not_saturate():
    _, odds, _ = top_log_odds(NUMPY, np.array([[100.0, 0.0, 0.0]]))
    assert odds[0, 0] == pytest.approx(100 - np.log(2), rel=1e-14)


def test_two_classes_one_against_the_rest_is_one_map():
    logits, labels = overconfident(300, 2)
    assert len(samples(check_fit(logits, labels), "one-vs-rest")) == 1
    probs = calibrators.get("platt[form=one-vs-rest]").fit(logits, labels)(logits)
    odds = np.log(probs[:, 1] / probs[:, 0])
    slope = np.polyfit(logits[:, 1] - logits[:, 0], odds, 1)
    np.testing.assert_allclose(odds, np.polyval(slope, logits[:, 1] - logits[:, 0]), atol=1e-9)


def test_platt_is_the_identity_in_the_limit_of_calibrated_data():
    logits, labels = overconfident(40_000, 2, temperature=1.0)
    fitted = calibrators.get("platt").fit(logits, labels)
    np.testing.assert_allclose([fitted.slope[0], fitted.intercept[0]], [1, 0], atol=0.06)


def test_beta_contains_the_identity_and_stays_monotone():
    confidences, correct, *_ = top_label_data()
    for parameters, n in (("abm", 3), ("am", 2), ("ab", 2)):
        fitted = calibrators.get(f"beta[parameters={parameters}]").fit_confidences(confidences, correct)
        assert fitted.n_parameters == n
        assert min(fitted.a[0], fitted.b[0]) >= 0
        assert (np.diff(fitted.confidences(np.linspace(0, 1, 101))) >= -1e-12).all()
    assert fitted.confidences([0.5])[0] == pytest.approx(0.5, abs=1e-12)  # ab passes through 1/2


def test_isotonic_pools_ties_and_violators():
    fitted = calibrators.get("isotonic").fit_confidences(
        [0.2, 0.2, 0.4, 0.6, 0.8], [False, True, False, True, True]
    )
    np.testing.assert_allclose(fitted.confidences([0.2, 0.4, 0.6, 0.8]), [1 / 3, 1 / 3, 1, 1], atol=1e-15)


def test_levels_of_0_and_1_are_flagged():
    fitted = calibrators.get("isotonic").fit_confidences([0.2, 0.4, 0.6, 0.8], [False, False, True, True])
    assert "probability 0 or 1" in fitted.warnings[0]


def test_histogram_by_hand():
    fitted = calibrators.get("histogram[n_bins=4,strategy=uniform]").fit_confidences(
        [0.1, 0.25, 0.3, 0.9], [True, False, True, True]
    )
    # Bins are closed on the right; the third has no sample and keeps its middle.
    np.testing.assert_allclose(fitted.confidences([0.0, 0.25, 0.26, 0.7, 1.0]), [0.5, 0.5, 1, 0.625, 1])


def test_equal_mass_bins_keep_ties_together():
    assert equal_mass_edges(np.array([0.5, 0.5, 0.5, 0.5, 0.9]), 3).tolist() == [0.7]
    assert equal_mass_edges(np.array([0.0] * 10 + [0.5] * 10 + [1.0] * 20), 15).tolist() == [0.25, 0.75]
    assert equal_mass_edges(np.array([0.3, 0.1]), 15).tolist() == [0.2]


def test_scaling_binning_levels_are_means_of_the_curve():
    confidences, correct, *_ = top_label_data()
    fitted = calibrators.get("scaling_binning[n_bins=5]").fit_confidences(confidences, correct)
    mapped = fitted.confidences(confidences)
    assert len(np.unique(mapped)) == 5
    assert mapped.mean() == pytest.approx(correct.mean(), abs=1e-5)


def test_where_every_map_says_0_the_options_are_equal():
    logits = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]] * 4)
    labels = np.array([1, 2, 0] * 4)
    fitted = calibrators.get("histogram[n_bins=2]").fit(logits, labels)
    probs = fitted([[4.0, 4.0, -np.inf], [9.0, 9.0, 9.0]])
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert probs[0, 2] == 0


def test_neighbouring_floats_get_bins_of_their_own():
    low = 0.61
    confidences = np.repeat([low, np.nextafter(low, 1), 0.95], 5)
    correct = [True, False, True, False, True, True, False, True, True, False, True, True, True, True, False]
    for name in ("scaling_binning[n_bins=3]", "histogram[n_bins=3]"):
        fitted = calibrators.get(name).fit_confidences(confidences, correct)
        assert np.isfinite(fitted.confidences([low, 0.62, 0.95])).all()
    assert equal_mass_edges(confidences, 3)[0] == low


@pytest.mark.parametrize("name", METHODS)
def test_an_option_that_no_calibration_item_has_borrows_the_map_of_all_others(name):
    logits, labels = overconfident(600, 4)
    method = calibrators.get(f"{name}[form=one-vs-rest]")
    fitted = method.fit(np.hstack([logits, np.full((600, 1), -np.inf)]), labels)
    assert "the label is 4 (is never an option, so the map of all others stands in)" in fitted.warnings[0]
    probs = fitted(np.hstack([logits, logits[:, :1]]))
    assert np.isfinite(probs).all()
    assert (probs[:, 4] > 0).any()


@pytest.mark.parametrize("name", ["platt", "beta"])
@pytest.mark.parametrize("form", ["top-label", "one-vs-rest"])
def test_what_is_all_but_certain_leaves_the_rest_more_than_nothing(name, form):
    logits, labels = overconfident(600, 2, temperature=1.0)
    fitted = calibrators.get(f"{name}[form={form}]").fit(logits, labels)
    probs = fitted([[80.0, 0.0], [0.0, 80.0]])
    assert (probs > 0).all()
    assert probs.min() < 1e-20
    assert fitted([[80.0, -np.inf]]).tolist() == [[1.0, 0.0]]
