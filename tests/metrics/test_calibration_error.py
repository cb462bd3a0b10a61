from __future__ import annotations

import numpy as np
import pytest

from calbench import metrics
from calbench.errors import InputError
from calbench.metrics import Outcomes, evaluate
from calbench.metrics._binning import uniform_bins


def binary(confidences, correct):
    """Class vectors and labels whose top-1 confidence and correctness are these (confidence >= .5)."""
    c = np.asarray(confidences, dtype=float)
    return np.column_stack([c, 1 - c]), np.where(correct, 0, 1)


def slow_ece(confidences, correct, edges, norm="l1"):
    """Bin by comparing with edges, one item at a time."""
    gaps, weights = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for c, right in zip(confidences, correct, strict=True):
        b = next(j for j in range(len(edges) - 1) if c <= edges[j + 1])
        gaps[b] += c - right
        weights[b] += 1
    means = np.abs(gaps[weights > 0] / weights[weights > 0])
    share = weights[weights > 0] / weights.sum()
    return {"l1": share @ means, "l2": np.sqrt(share @ means**2), "max": means.max()}[norm]


def test_ece_by_hand():
    # bins (.6,.667] and (.867,.933]: gaps .65 - 1/2 = .15 (n = 2) and .9 - 1 = -.1 (n = 2)
    probs, labels = binary([0.65, 0.65, 0.9, 0.9], [True, False, True, True])
    assert metrics.expected_calibration_error(probs, labels) == pytest.approx(0.125, abs=1e-15)
    assert metrics.expected_calibration_error(probs, labels, norm="max") == pytest.approx(0.15, abs=1e-15)
    expected = np.sqrt((0.15**2 + 0.1**2) / 2)
    assert metrics.expected_calibration_error(probs, labels, norm="l2") == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("n_bins", [1, 7, 15, 100])
def test_ece_agrees_with_a_loop_over_items(norm, n_bins, both_signs):
    probs, labels = both_signs
    confidences, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    expected = slow_ece(confidences, correct, np.arange(n_bins + 1) / n_bins, norm)
    found = metrics.expected_calibration_error(probs, labels, n_bins=n_bins, norm=norm)
    assert found == pytest.approx(expected, abs=1e-13)


def test_the_data_for_comparisons_has_gaps_of_both_signs(both_signs):
    # Otherwise ECE is |mean confidence - accuracy| whatever the binning.
    probs, labels = both_signs
    ece = metrics.expected_calibration_error(probs, labels)
    assert ece > abs(metrics.overconfidence_gap(probs, labels)) + 0.02


@pytest.mark.parametrize("n_bins", [3, 10, 15, 20, 49])
def test_an_edge_belongs_to_the_bin_below_it_however_it_was_computed(n_bins):
    numbers = np.arange(1, n_bins + 1)
    for edges in (numbers / n_bins, numbers * (1 / n_bins), np.linspace(0, 1, n_bins + 1)[1:]):
        assert uniform_bins(np.minimum(edges, 1.0), n_bins).tolist() == (numbers - 1).tolist()
    above = numbers[:-1] / n_bins + 2e-6
    assert uniform_bins(above, n_bins).tolist() == numbers[:-1].tolist()


def test_zero_is_in_the_first_bin_and_one_in_the_last():
    assert uniform_bins(np.array([0.0, 1.0]), 15).tolist() == [0, 14]


def test_quantile_bins_are_those_of_array_split(both_signs):
    probs, labels = both_signs
    probs, labels = probs[:997], labels[:997]  # 997 = 15 * 66 + 7
    confidences, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidences, kind="stable"), 15)
    expected = sum(abs((confidences[p] - correct[p]).sum()) for p in parts) / 997
    found = metrics.expected_calibration_error(probs, labels, strategy="quantile")
    assert found == pytest.approx(expected, abs=1e-13)


def test_more_quantile_bins_than_items_give_each_item_its_own():
    probs, labels = binary([0.6, 0.9], [True, False])
    found = metrics.expected_calibration_error(probs, labels, strategy="quantile", n_bins=15)
    assert found == pytest.approx((0.4 + 0.9) / 2, abs=1e-15)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_counts_as_weights_are_repeated_items(strategy, norm, both_signs, rng):
    probs, labels = (a[:300] for a in both_signs)
    probs = probs[np.argsort(probs.max(axis=1))]  # so that repeated items keep a stable order
    counts = np.bincount(rng.integers(300, size=300), minlength=300)
    rows = np.repeat(np.arange(300), counts)
    options = {"strategy": strategy, "norm": norm}
    weighted = metrics.expected_calibration_error(probs, labels, sample_weight=counts, **options)
    assert weighted == pytest.approx(
        metrics.expected_calibration_error(probs[rows], labels[rows], **options), abs=1e-12
    )


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_scale_of_the_weights_does_not_matter(strategy, both_signs, rng):
    probs, labels = both_signs
    weight = rng.uniform(0.1, 3, len(labels))
    a, b = (
        metrics.expected_calibration_error(probs, labels, strategy=strategy, sample_weight=w)
        for w in (weight, 1e6 * weight)
    )
    assert a == pytest.approx(b, abs=1e-12)


def test_max_norm_leaves_small_bins_out():
    probs, labels = binary([0.65, 0.65, 0.9], [True, False, False])
    assert metrics.expected_calibration_error(probs, labels, norm="max") == pytest.approx(0.9)
    found = metrics.expected_calibration_error(probs, labels, norm="max", min_count=2)
    assert found == pytest.approx(0.15)
    with pytest.raises(InputError, match="no bin has 3 items"):
        metrics.expected_calibration_error(probs, labels, norm="max", min_count=3)


def test_debiased_error_by_hand():
    # one bin of 4: (0.9 - 0.25)² - 0.25 * 0.75 / 3 = 0.36
    probs, labels = binary([0.9] * 4, [True, False, False, False])
    assert metrics.debiased_calibration_error(probs, labels) == pytest.approx(0.6, abs=1e-14)


def test_debiased_error_is_nothing_where_noise_explains_all():
    probs, labels = binary([0.75] * 4, [True, True, True, False])
    assert metrics.debiased_calibration_error(probs, labels) == 0.0


def test_debiased_error_of_lone_items_is_nothing():
    probs, labels = binary([0.6, 0.9], [False, False])
    assert metrics.debiased_calibration_error(probs, labels) == 0.0


def test_debiasing_pays_at_small_samples(rng):
    # a calibrated model at n = 200: the plain RMS gap is about .1, the debiased one about .03
    plain, debiased = [], []
    for _ in range(50):
        c = rng.uniform(0.5, 1, 200)
        probs, labels = binary(c, rng.random(200) < c)
        plain.append(metrics.expected_calibration_error(probs, labels, norm="l2"))
        debiased.append(metrics.debiased_calibration_error(probs, labels))
    assert np.mean(plain) > 0.08
    assert np.mean(debiased) < 0.6 * np.mean(plain)


def test_ks_by_hand():
    # cumulative gaps by confidence: .6, then .6 - .1 = .5, over n = 2
    probs, labels = binary([0.6, 0.9], [False, True])
    assert metrics.ks_calibration_error(probs, labels) == pytest.approx(0.3, abs=1e-15)


def test_ks_takes_ties_together():
    probs, labels = binary([0.75] * 4, [True, True, True, False])
    assert metrics.ks_calibration_error(probs, labels) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bins": 0}, "n_bins=0"),
        ({"n_bins": 1.5}, "n_bins=1.5"),
        ({"n_bins": True}, "n_bins=True"),
        ({"strategy": "equal"}, "strategy='equal'"),
        ({"norm": "l3"}, "norm='l3'"),
        ({"min_count": 0}, "min_count=0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    probs, labels = binary([0.6, 0.9], [False, True])
    with pytest.raises(InputError, match=message):
        metrics.expected_calibration_error(probs, labels, **options)


def test_classwise_error_by_hand():
    # class 0: p .7 (right), .6 (wrong) in bins of their own: (.3 + .6) / 2; class 1 the same
    found = metrics.classwise_calibration_error([[0.7, 0.3], [0.6, 0.4]], [0, 1])
    assert found == pytest.approx(0.45, abs=1e-15)
    both = metrics.classwise_calibration_error([[0.7, 0.3], [0.6, 0.4]], [0, 1], reduce="sum")
    assert both == pytest.approx(0.9, abs=1e-15)


def test_classwise_threshold_leaves_small_probabilities_out():
    probs, labels = [[0.7, 0.29, 0.01], [0.69, 0.3, 0.01]], [0, 0]
    found = metrics.classwise_calibration_error(probs, labels, threshold=0.5, reduce="sum")
    assert found == pytest.approx((0.3 + 0.31) / 2, abs=1e-15)


def test_classwise_error_of_a_class_that_never_occurs():
    probs, labels = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], [0, 1]
    assert metrics.classwise_calibration_error(probs, labels) == pytest.approx(0, abs=1e-15)


def test_top_label_error_is_never_below_ece(both_signs):
    probs, labels = both_signs
    found = metrics.top_label_calibration_error(probs, labels)
    assert found > metrics.expected_calibration_error(probs, labels)


def test_top_label_error_by_hand():
    # predicted 0: .7 - 1 = -.3; predicted 1: .7 - .5 = .2; their bins cancel in ece
    probs, labels = [[0.7, 0.3], [0.7, 0.3], [0.3, 0.7], [0.3, 0.7]], [0, 0, 0, 1]
    assert metrics.top_label_calibration_error(probs, labels) == pytest.approx(0.25, abs=1e-15)
    assert metrics.expected_calibration_error(probs, labels) == pytest.approx(0.05, abs=1e-15)


@pytest.mark.parametrize("n_bins", [2, 3, 5, 10, 15, 20, 25, 30, 50, 100, 1000])
def test_a_confidence_shares_its_bin_with_its_float32_twin(n_bins):
    edges = np.arange(n_bins + 1) / n_bins
    assert (uniform_bins(edges, n_bins) == uniform_bins(edges.astype(np.float32).astype(float), n_bins)).all()


def test_the_same_answers_stored_as_float32_have_the_same_ece():
    confidences, correct = np.repeat([3 / 15, 9 / 15, 11 / 15], 200), np.tile([True, False], 300)
    stored = confidences.astype(np.float32)
    both = [Outcomes.from_top_label(values, correct) for values in (confidences, stored)]
    assert abs(np.diff([evaluate("ece", items) for items in both])[0]) < 1e-6
