from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbench import metrics
from calbench.errors import InputError
from calbench.metrics import ReliabilityBins


def data(n, seed=0):
    rng = np.random.default_rng(seed)
    c = rng.uniform(0.2, 1, n)
    return c, rng.random(n) < np.where(c < 0.6, c - 0.15, np.minimum(c + 0.1, 1))


@given(cuts=st.lists(st.integers(1, 499), max_size=5, unique=True))
def test_shards_add_up_to_the_whole(cuts):
    c, correct = data(500)
    whole = ReliabilityBins.of(c, correct)
    parts = zip(np.split(c, sorted(cuts)), np.split(correct, sorted(cuts)), strict=True)
    added = ReliabilityBins.of_stream(parts)
    assert added.n_items == 500
    for name in ("weights", "confidence_sums", "correct_sums"):
        assert getattr(added, name) == pytest.approx(getattr(whole, name), abs=1e-10)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gives_the_same_error_as_the_arrays(norm, weighted):
    c, correct = data(70_000)  # more than one chunk
    weight = np.random.default_rng(1).uniform(size=len(c)) if weighted else None
    state = ReliabilityBins.of(c, correct, sample_weight=weight, n_bins=12)
    record = metrics.Outcomes.from_top_label(c, correct)
    expected = metrics.evaluate(f"ece[n_bins=12,norm={norm}]", record, sample_weight=weight)
    assert state.expected_calibration_error(norm=norm) == pytest.approx(expected, abs=1e-12)


def test_points_of_the_diagram():
    state = ReliabilityBins.of([0.1, 0.6, 0.7], [False, True, False], n_bins=2)
    assert state.edges.tolist() == [0, 0.5, 1]
    assert state.mean_confidences == pytest.approx([0.1, 0.65])
    assert state.accuracies == pytest.approx([0, 0.5])
    assert state.accuracy == pytest.approx(1 / 3)
    assert state.overconfidence_gap == pytest.approx((1.4 - 1) / 3)


def test_an_empty_bin_has_no_accuracy():
    assert np.isnan(ReliabilityBins.of([0.9], [True], n_bins=2).accuracies[0])


def test_nothing_read_is_an_error():
    with pytest.raises(InputError, match="no items have been read"):
        ReliabilityBins.empty().expected_calibration_error()


def test_other_bins_cannot_be_added():
    with pytest.raises(InputError, match="15 and 10 bins"):
        ReliabilityBins.empty(15) + ReliabilityBins.empty(10)


def test_a_stream_needs_no_memory_for_its_items():
    def stream(n_parts):
        for seed in range(n_parts):
            yield data(20_000, seed)

    def peak(n_parts):
        tracemalloc.start()
        ReliabilityBins.of_stream(stream(n_parts))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # ten times the items, the same peak: that of one part
    assert peak(20) < 1.2 * peak(2)
