"""A sample from production beside a baseline: what is flagged, and how often for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.records import TopLabelPredictions
from calbench.studies._monitoring import confidence_drift, monitor, sure_mistakes


def draw(n, rng, *, gap=0.0, low=0.5, first=0):
    """Items whose accuracy is confidence - gap."""
    confidences = rng.uniform(low, 0.98, n)
    return TopLabelPredictions(range(first, first + n), confidences, rng.random(n) < confidences - gap)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_sample_of_the_same_kind_is_rarely_flagged(rng):
    baseline = draw(800, rng)
    flags = [flag for _ in range(60) for flag in monitor(baseline, draw(500, rng), n_resamples=100).flags]
    assert len(flags) <= 60 * 3 * 0.01 + 4  # three checks at 99%, and more than three standard errors


def test_lost_calibration_is_flagged_without_drift(rng):
    found = monitor(sample=draw(3000, rng, gap=0.15), baseline=draw(3000, rng))
    assert found.flags == ("calibration", "high-confidence mistakes")
    assert found.ece.change.interval[0] > 0.02


def test_drifted_confidences_are_flagged_although_calibrated(rng):
    found = monitor(sample=draw(800, rng, low=0.8), baseline=draw(800, rng))
    assert "confidence drift" in found.flags
    assert "calibration" not in found.flags


def test_the_index_is_that_of_the_shares():
    baseline = np.arange(1000) / 1000
    sample = np.concatenate([np.full(900, 0.05), np.full(100, 0.95)])
    drift = confidence_drift(baseline, sample)
    # Ten bins of 100; in the sample one holds 900 and one 100 (each plus half an item).
    b, total = 100.5 / 1005, 1005
    shares = [900.5 / total, 100.5 / total] + [0.5 / total] * 8
    assert drift.psi == pytest.approx(sum((s - b) * np.log(s / b) for s in shares), rel=0.02)


def test_confidences_of_few_values_are_compared(rng):
    baseline = rng.choice([0.6, 0.9], 500)
    assert not confidence_drift(baseline, rng.choice([0.6, 0.9], 400)).flagged
    assert confidence_drift(baseline, np.full(400, 0.9)).flagged


def test_only_mistakes_that_the_baseline_did_not_make_are_new():
    baseline = TopLabelPredictions(["a", "b"], [0.95, 0.95], [False, True])
    sample = TopLabelPredictions(["a", "b", "c", "d"], [0.99, 0.97, 0.5, 0.98], [False] * 4)
    found = sure_mistakes(baseline, sample, threshold=0.9, level=0.99)
    assert found.new == (("d", 0.98), ("b", 0.97))
    assert (found.n_sample, found.n_baseline, found.n_new) == (3, 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"level": 1}, "level=1"), ({"threshold": 2}, "threshold=2"), ({"margin": float("nan")}, "margin=nan")],
)
def test_options_out_of_range_are_refused(rng, options, message):
    with pytest.raises(InputError, match=message):
        monitor(draw(60, rng), draw(60, rng), n_resamples=100, **options)


def test_too_few_items_are_refused(rng):
    with pytest.raises(InputError, match="the sample has 49 items; monitoring needs at least 50"):
        monitor(draw(60, rng), draw(49, rng))
