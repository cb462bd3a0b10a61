from __future__ import annotations

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.metrics import Outcomes
from calbench.statistics import Resamples, change, contrast, difference, resample

METRIC = "ece_shared_bins"


def resampled(confidences, correct, weights=None):
    draw = Resamples.draw(
        range(len(correct)), n_resamples=50, seed=np.random.default_rng(0), sample_weight=weights
    )
    return resample([METRIC], Outcomes.from_top_label(confidences, correct), draw)[METRIC]


# The reference's gaps are +.3 and -.3 in bins of its own; the candidate's bin holds both, and they cancel.
CORRECT = [False, True]
REFERENCE, CANDIDATE = [0.3, 0.7], [0.45, 0.55]


def test_the_reference_is_measured_in_the_candidates_bins():
    found = change(resampled(REFERENCE, CORRECT), resampled(CANDIDATE, CORRECT))
    assert found.reference_value == pytest.approx(0.0, abs=1e-12)
    assert found.candidate_value == pytest.approx(0.0, abs=1e-12)
    swapped = change(resampled(CANDIDATE, CORRECT), resampled(REFERENCE, CORRECT))
    assert swapped.candidate_value == pytest.approx(0.3)
    assert swapped.reference_value == pytest.approx(0.45)


def test_weights_count_in_the_candidates_bins_too():
    weights = [3.0, 1.0]
    found = change(resampled(REFERENCE, CORRECT, weights), resampled(CANDIDATE, CORRECT, weights))
    assert found.reference_value == pytest.approx((3 * 0.3 - 0.3) / 4)


def test_a_contrast_of_two_is_their_difference_and_one_of_more_is_refused():
    a, b = resampled(CANDIDATE, CORRECT), resampled(REFERENCE, CORRECT)
    assert contrast([(1, a), (-1, b)]) == difference(b, a)
    with pytest.raises(InputError, match="compares two models"):
        contrast([(1, a), (-2, b), (1, a)])


def test_a_percentile_interval_is_refused():
    a, b = resampled(CANDIDATE, CORRECT), resampled(REFERENCE, CORRECT)
    with pytest.raises(InputError, match="no percentile interval"):
        difference(b, a, method="percentile")
