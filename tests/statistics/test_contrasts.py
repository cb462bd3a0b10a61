"""Contrasts against hand-computed ones, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import Predictions
from calbench.errors import InputError
from calbench.metrics import Outcomes
from calbench.statistics import Resamples, contrast, contrast_p_value, difference, resample


def measured(records, metrics, *, n_resamples=300, seed=0):
    ids = records[0].item_ids.tolist()
    draw = Resamples.draw(ids, n_resamples=n_resamples, seed=np.random.default_rng(seed))
    return [resample(metrics, Outcomes.from_record(record), draw) for record in records]


def world(sharpness, *, n=600, seed=0, noise=0.5):
    """Models whose logits are the true ones, sharpened and with noise of their own."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, 1)) * 2
    labels = (rng.random(n) < 1 / (1 + np.exp(-true[:, 0]))).astype(int)
    records = []
    for factor in sharpness:
        z = factor * true + noise * rng.normal(size=(n, 1))
        records.append(Predictions(range(n), np.hstack([np.zeros_like(z), z]), labels))
    return records


INTERACTION = (1, -1, -1, 1)


@pytest.mark.parametrize("metric", ["ece", "nll", "brier", "accuracy", "smece"])
def test_a_contrast_of_two_is_their_difference(metric):
    a, b = (each[metric] for each in measured(world((1, 2)), [metric]))
    assert contrast([(1, a), (-1, b)]) == difference(b, a)


@pytest.mark.parametrize("metric", ["ece", "nll", "accuracy", "smece"])
def test_the_negative_of_a_contrast_has_the_negative_interval(metric):
    results = [each[metric] for each in measured(world((1, 1.5, 2, 3)), [metric])]
    forward = contrast(list(zip(INTERACTION, results, strict=True)))
    backward = contrast([(-w, r) for w, r in zip(INTERACTION, results, strict=True)])
    assert backward.value == pytest.approx(-forward.value)
    assert backward.interval == pytest.approx((-forward.interval[1], -forward.interval[0]))
    assert forward.interval[0] <= forward.value <= forward.interval[1]


def test_the_percentile_interval_is_that_of_the_combined_resamples():
    d, c, b, a = (each["nll"] for each in measured(world((3, 2, 1.5, 1)), ["nll"]))
    found = contrast([(1, d), (-1, c), (-1, b), (1, a)])
    expected = np.quantile(d.values - c.values - b.values + a.values, [0.025, 0.975])
    np.testing.assert_allclose(found.interval, expected)


def test_the_p_value_and_the_interval_agree():
    results = [each["nll"] for each in measured(world((4, 1, 1, 1)), ["nll"])]
    terms = list(zip(INTERACTION, results, strict=True))
    p = contrast_p_value(terms)
    assert p <= 0.05
    assert contrast(terms, 0.95).interval[0] > 0
    assert contrast_p_value(nothing(results[1])) == 1.0


def nothing(result):
    return [(1, result), (-1, result), (-1, result), (1, result)]


def test_a_contrast_of_equals_is_0_however_wrong_they_are():
    confidences = np.repeat([0.6, 0.95], 500)
    correct = np.r_[np.arange(500) % 10 < 2, np.arange(500) % 10 < 6]
    draw = Resamples.draw(range(1000), n_resamples=50, seed=np.random.default_rng(0))
    terms = nothing(resample(["ece"], Outcomes.from_top_label(confidences, correct), draw)["ece"])
    low, high = contrast(terms).interval
    assert low <= 0 <= high
    assert contrast_p_value(terms) == 1.0


def test_results_that_were_not_resampled_together_are_refused():
    a, b = world((1, 2))
    (first,), (second,) = measured([a], ["ece"]), measured([b], ["ece"], n_resamples=100)
    with pytest.raises(InputError, match="not resampled together"):
        contrast([(1, first["ece"]), (-1, second["ece"])])
    with pytest.raises(InputError, match="at least one"):
        contrast([])


def test_an_undefined_metric_is_refused():
    timid = [
        Predictions(record.item_ids, record.logits * 1e-3, record.labels) for record in world((1, 2), n=50)
    ]
    results = [each["overconfidence_error_rate"] for each in measured(timid, ["overconfidence_error_rate"])]
    with pytest.raises(InputError, match="is not defined for one of the models"):
        contrast([(1, results[0]), (-1, results[1])])


@pytest.mark.parametrize("metric", ["ece", "nll"])
def test_a_planted_interaction_is_found_and_a_planted_null_is_not(metric):
    """60 worlds each; the rates' tolerance is three standard errors of a 5% rate, 8 points."""
    null = [significant(metric, (2.5, 1.5, 2.5, 1.5), seed) for seed in range(60)]
    planted = [significant(metric, (5.0, 1.0, 1.0, 1.0), seed) for seed in range(60)]
    assert np.mean(null) <= 0.05 + 0.085
    assert np.mean(planted) >= 0.8


def significant(metric, sharpness, seed):
    """Arms (tuned quantized, tuned, untuned quantized, untuned)."""
    results = [
        each[metric] for each in measured(world(sharpness, n=800, seed=seed), [metric], n_resamples=300)
    ]
    low, high = contrast(list(zip(INTERACTION, results, strict=True))).interval
    return not low <= 0 <= high
