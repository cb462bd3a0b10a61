"""Differences of two models where only some answers are labelled."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import TopLabelPredictions, compare
from calbench.errors import InputError
from calbench.statistics import LabelSample, allocation, labelled_accuracy, labelled_change

METRICS = ("accuracy", "overconfidence_gap", "ece[n_bins=1]", "ece_shared_bins")


def models(n_items, rng, *, noise=0.6, scale=1.3):
    """Return confidences, answers and labels of a model and of its noisy, overconfident self."""
    z = 2 * rng.normal(size=(n_items, 4))
    true = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = np.minimum((rng.random((n_items, 1)) > np.cumsum(true, axis=1)).sum(axis=1), 3)
    sides = []
    for spread in (0.2, noise):
        said = np.exp(z * scale + spread * rng.normal(size=z.shape))
        said /= said.sum(axis=1, keepdims=True)
        sides.append((said.max(axis=1), said.argmax(axis=1)))
    return sides, labels


def sample(sides, labels, n_labels, rng, *, rest_share=0.25):
    (p, said), (q, now) = sides
    flips = said != now
    wanted = allocation(int(flips.sum()), int((~flips).sum()), n_labels, rest_share=rest_share)
    strata = zip((flips, ~flips), wanted, strict=True)
    rows = np.concatenate([rng.permutation(np.flatnonzero(places))[:n] for places, n in strata])
    return LabelSample(p, q, flips, rows, (said == labels)[rows], (now == labels)[rows])


def truth(metric):
    rng = np.random.default_rng(99)
    sides, labels = models(400_000, rng)
    whole = sample(sides, labels, 400_000, rng)
    return labelled_change(whole, metric).value


@pytest.fixture(scope="module")
def draws():
    rng = np.random.default_rng(5)
    return [sample(*models(1000, rng), 100, rng) for _ in range(400)]


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_cover_what_is_true_of_items_like_these(draws, metric):
    found = np.array([labelled_change(draw, metric).interval for draw in draws])
    true = truth(metric)
    # 400 draws: .025 and three standard errors.
    assert np.mean(found[:, 0] > true) <= 0.048
    assert np.mean(found[:, 1] < true) <= 0.048


@pytest.mark.parametrize("metric", METRICS[:2])
def test_the_estimates_of_means_are_unbiased(draws, metric):
    values = np.array([labelled_change(draw, metric).value for draw in draws])
    assert abs(values.mean() - truth(metric)) < 3 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("arm", [0, 1])
def test_a_models_own_accuracy_is_covered(draws, arm):
    rng = np.random.default_rng(98)
    sides, labels = models(400_000, rng)
    true = float(np.mean(sides[1 - arm][1] == labels))
    found = np.array([labelled_accuracy(draw, arm) for draw in draws])
    assert np.mean((found[:, 0] > true) | (found[:, 1] < true)) <= 0.083


def test_labels_for_all_give_what_compare_gives():
    rng = np.random.default_rng(1)
    sides, labels = models(800, rng)
    whole = sample(sides, labels, 800, rng)
    reference, candidate = (TopLabelPredictions(range(800), c, said == labels) for c, said in sides)
    both = compare(reference, candidate)
    for metric in ("accuracy", "ece[n_bins=1]", "ece_shared_bins", "ece"):
        ours, theirs = labelled_change(whole, metric), both.difference(metric)
        assert ours.value == pytest.approx(theirs.value, abs=1e-12)
        # Compare's intervals of shares are also those of resamples; and items' skewness is of errors here.
        tolerance = 0.004 if metric == "accuracy" else 3e-4
        assert ours.interval == pytest.approx(theirs.interval, abs=tolerance)


def test_a_label_of_an_answer_that_both_give_does_not_widen_a_difference_in_accuracy():
    rng = np.random.default_rng(2)
    sides, labels = models(1000, rng)
    n_flips = int((sides[0][1] != sides[1][1]).sum())
    widths = list[float]()
    for n_labels in (n_flips + 10, 1000):
        low, high = labelled_change(
            sample(sides, labels, n_labels, rng, rest_share=0.01), "accuracy"
        ).interval
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1], rel=0.02)


def test_two_models_that_answer_alike_do_not_differ():
    rng = np.random.default_rng(3)
    (side, _), labels = models(200, rng)
    found = sample((side, side), labels, 50, rng)
    assert labelled_change(found, "ece_shared_bins").interval == (0.0, 0.0)
    low, high = labelled_change(found, "accuracy").interval
    assert low == pytest.approx(-high)
    assert -np.log(0.025) / 200 < high < 4.5 / 200  # changes of a share that 200 items miss once in 40


def test_allocation_takes_the_flips_first_and_gives_the_rest_what_is_left():
    assert allocation(26, 974, 200, rest_share=0.25) == (26, 174)
    assert allocation(290, 710, 200, rest_share=0.25) == (150, 50)
    assert allocation(5, 995, 40, rest_share=0.25) == (5, 35)


def test_too_few_labels_are_refused():
    with pytest.raises(InputError, match="15 labels are too few: 300 items flip"):
        allocation(300, 700, 15, rest_share=0.25)


def test_a_metric_of_all_classes_is_refused():
    rng = np.random.default_rng(4)
    with pytest.raises(InputError, match="'brier' cannot be had from labels of some items"):
        labelled_change(sample(*models(200, rng), 60, rng), "brier")
