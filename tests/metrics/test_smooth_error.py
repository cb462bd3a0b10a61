from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from calbench import metrics


def slow_smooth_error(confidences, correct):
    """The definition: reflected Gaussians added up on a fine grid, and a root finder."""
    gaps = confidences - correct
    t = (np.arange(4000) + 0.5) / 4000

    def error(sigma):
        smooth = np.zeros_like(t)
        for shift in range(-8, 9, 2):  # images of an item at x: 2k + x and 2k - x
            for image in (shift + confidences, shift - confidences):
                kernel = np.exp(-((t[:, None] - image) ** 2) / (2 * sigma**2))
                smooth += kernel @ gaps / (np.sqrt(2 * np.pi) * sigma * len(gaps))
        return np.abs(smooth).mean()

    return optimize.brentq(lambda s: error(s) - s, 2e-3, 1, xtol=1e-10)


@pytest.mark.parametrize("n", [1, 10, 150])
def test_agrees_with_the_definition(n, rng):
    c = rng.uniform(0.5, 1, n)
    correct = rng.random(n) < np.where(c < 0.75, c - 0.2, np.minimum(c + 0.15, 1))
    found = metrics.smooth_calibration_error(np.column_stack([c, 1 - c]), np.where(correct, 0, 1))
    # 1e-6: items' places and the curve are kept on grids of 8192 and 2048 cells
    assert found == pytest.approx(slow_smooth_error(c, correct), abs=1e-6)


def test_gaps_of_one_sign_leave_the_mean_gap():
    probs = np.column_stack([np.linspace(0.8, 0.95, 40), 1 - np.linspace(0.8, 0.95, 40)])
    labels = np.arange(40) % 2
    gap = metrics.overconfidence_gap(probs, labels)
    assert metrics.smooth_calibration_error(probs, labels) == pytest.approx(gap, abs=2e-3)


def test_is_continuous_where_binned_errors_jump(rng):
    # confidence 0.6 and its tolerance end a bin; nudging them moves half the items to another
    c = np.full(200, 0.6 + 1e-6)
    correct = np.arange(200) % 5 < 3
    correct[:100], correct[100:] = np.sort(correct)[100:], np.sort(correct)[:100]
    nudged = c + np.where(np.arange(200) < 100, 1e-9, -1e-9)

    def both(c):
        probs, labels = np.column_stack([c, 1 - c]), np.where(correct, 0, 1)
        return metrics.smooth_calibration_error(probs, labels), metrics.expected_calibration_error(
            probs, labels
        )

    (smooth, binned), (smooth_nudged, binned_nudged) = both(c), both(nudged)
    assert abs(binned_nudged - binned) > 0.3
    assert abs(smooth_nudged - smooth) < 1e-6
