"""The squared kernel calibration error, against a double loop."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import compare
from calbench.errors import InputError
from calbench.metrics import Outcomes, get
from calbench.statistics import Resamples, resample


def by_loops(probs, labels, bandwidth):
    """Return the mean over ordered pairs, term by term."""
    n, total = len(probs), 0.0
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            kernel = np.exp(
                -np.sqrt(sum((a - b) ** 2 for a, b in zip(probs[i], probs[j], strict=True))) / bandwidth
            )
            inner = 0.0
            for c, (p, q) in enumerate(zip(probs[i], probs[j], strict=True)):
                inner += ((c == labels[i]) - p) * ((c == labels[j]) - q)
            total += kernel * inner
    return total / (n * (n - 1))


@pytest.fixture
def answers(rng):
    probs = rng.dirichlet(np.ones(4), 60)
    return probs, rng.integers(4, size=60)


@pytest.mark.parametrize("bandwidth", [0.1, 0.3, 2.0])
def test_it_is_what_a_double_loop_gives(answers, bandwidth):
    found = get(f"skce[bandwidth={bandwidth}]")(*answers)
    assert found == pytest.approx(by_loops(*answers, bandwidth), abs=1e-14)


def test_a_calibrated_model_has_none_on_average(rng):
    values = []
    for _ in range(300):
        probs = rng.dirichlet(np.ones(3), 100)
        labels = (rng.random((100, 1)) > np.cumsum(probs, axis=1)).sum(axis=1).clip(0, 2)
        values.append(get("skce")(probs, labels))
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)


def test_its_variance_is_that_of_the_statistic(rng):
    values, widths = [], []
    for _ in range(200):
        probs = rng.dirichlet(np.ones(3), 150)
        labels = np.minimum((rng.random((150, 1)) > np.cumsum(probs**2, axis=1)).sum(axis=1), 2)
        draw = Resamples.draw(range(150), n_resamples=100, seed=rng)
        measured = resample(["skce"], Outcomes.from_probs(probs, labels), draw)["skce"]
        values.append(measured.value)
        low, high = measured.estimate(method="bounds").interval
        widths.append(high - low)
    # 200 draws know a deviation to 5%.
    assert np.mean(widths) / (2 * 1.96) == pytest.approx(np.std(values), rel=0.15)


def test_a_paired_difference_of_a_model_from_itself_is_0(answers):
    logits = np.log(answers[0])
    change = compare(logits, logits, answers[1]).difference("skce")
    assert change.value == 0
    assert change.interval == (0, 0)


def test_one_item_makes_no_pair():
    with pytest.raises(InputError, match="not defined for these 1 items"):
        get("skce")([[0.7, 0.3]], [0])


@pytest.mark.parametrize("bandwidth", [0.0, -1.0])
def test_a_bandwidth_that_is_no_distance_is_refused(answers, bandwidth):
    with pytest.raises(InputError, match="use a positive distance"):
        get("skce")(*answers, bandwidth=bandwidth)
