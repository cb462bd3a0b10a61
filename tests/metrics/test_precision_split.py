from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from calbench import metrics
from calbench.errors import InputError
from calbench.records import Predictions


@pytest.fixture
def pair(rng):
    logits = rng.normal(size=(300, 4)) * 2
    ids = [f"q{i}" for i in range(300)]
    labels = rng.integers(4, size=300)
    reference = Predictions(ids, logits, labels)
    candidate = Predictions(ids, logits + rng.normal(size=(300, 4)) * 0.3, labels)
    return candidate, reference


def test_divergences_agree_with_scipy(pair):
    candidate, reference = pair
    split = metrics.precision_split(reference, candidate)
    expected = np.mean(jensenshannon(candidate.probs, reference.probs, axis=1) ** 2)
    assert split.js_divergence == pytest.approx(expected, rel=1e-9)
    expected = np.mean(entropy(reference.probs, candidate.probs, axis=1))
    assert split.kl_divergence == pytest.approx(expected, rel=1e-9)


def test_rows_are_matched_by_id(pair, rng):
    candidate, reference = pair
    shuffled = candidate.take(rng.permutation(candidate.item_ids))
    assert metrics.precision_split(reference, shuffled) == metrics.precision_split(reference, candidate)


def test_the_record_and_the_arrays_agree(pair):
    candidate, reference = pair
    split = metrics.precision_split(reference, candidate, delta=0.05)
    arrays = reference.probs, candidate.probs
    assert (split.confidence_shift_mean, split.confidence_shift_max) == pytest.approx(
        metrics.confidence_shift(*arrays)
    )
    assert split.flip_rate == metrics.flip_rate(*arrays)
    assert split.split_rate == metrics.split_rate(*arrays, delta=0.05)
    assert split.kl_divergence == metrics.kl_divergence(*arrays)


def test_no_change_is_zero_throughout(pair):
    split = metrics.precision_split(pair[1], pair[1])
    assert (split.confidence_shift_max, split.flip_rate, split.split_rate) == (0, 0, 0)
    assert split.js_divergence == pytest.approx(0, abs=1e-15)
    assert split.kl_divergence == pytest.approx(0, abs=1e-15)


def test_records_of_the_top_answer_are_compared_by_what_they_hold(pair):
    candidate, reference = pair
    split = metrics.precision_split(reference, candidate.to_top_label())
    assert split.js_divergence is None
    assert split.flip_rate == np.mean(candidate.correct != reference.correct)


def test_opposite_certainty():
    sure, opposite = [[1.0, 0.0]], [[0.0, 1.0]]
    assert metrics.js_divergence(opposite, sure) == pytest.approx(np.log(2))
    assert metrics.kl_divergence(opposite, sure) == pytest.approx(1022 * np.log(2))


def test_other_items_are_refused(pair):
    candidate, reference = pair
    with pytest.raises(InputError, match="299"):
        metrics.precision_split(reference, candidate.take(candidate.item_ids[1:]))
    renamed = Predictions([f"p{i}" for i in range(300)], candidate.logits, candidate.labels)
    with pytest.raises(InputError, match="has no item"):
        metrics.precision_split(reference, renamed)
    with pytest.raises(InputError, match="the same items and classes"):
        metrics.flip_rate([[0.2, 0.3, 0.5]], [[0.5, 0.5]])
    with pytest.raises(InputError, match="delta=2"):
        metrics.precision_split(reference, candidate, delta=2)
