from __future__ import annotations

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.gates import compare, evaluate
from calbench.metrics import Outcomes
from calbench.statistics import Resamples, bootstrap, resample, resamples_for

IDS = [f"q{i}" for i in range(37)]


def test_each_resample_draws_as_many_items_as_there_are():
    resamples = resamples_for(IDS, n_resamples=500, seed=1)
    assert resamples.counts.shape == (37, 500)
    assert (resamples.counts.sum(axis=0) == 37).all()


def test_counts_are_multinomial():
    counts = Resamples.draw(range(50), n_resamples=20_000, seed=np.random.default_rng(0)).counts
    # 5 standard errors of a mean and a variance over 20,000 draws
    assert counts.mean(axis=1) == pytest.approx(np.ones(50), abs=0.035)
    assert counts.var(axis=1) == pytest.approx(np.full(50, 0.98), abs=0.06)


def test_the_same_items_in_another_order_share_the_draw():
    assert resamples_for(IDS, seed=3) is resamples_for(reversed(IDS), seed=3)


def test_other_items_and_seeds_are_drawn_apart():
    first = resamples_for(IDS, seed=3).counts
    assert (first != resamples_for(IDS, seed=4).counts).any()
    assert (first != resamples_for([f"p{i}" for i in range(37)], seed=3).counts).any()


def test_counts_follow_their_ids():
    resamples = Resamples(["b", "c", "a"], [[2, 0], [1, 1], [0, 2]])
    assert resamples.item_ids.tolist() == ["a", "b", "c"]
    assert resamples.counts.tolist() == [[0, 2], [2, 0], [1, 1]]


def test_counts_beyond_a_byte_are_kept():
    assert Resamples(["a"], [[300]]).counts.tolist() == [[300]]


def test_blocks_of_any_size_add_up_to_the_same(record_of, monkeypatch):
    record = record_of(300, 0.1)
    items, resamples = Outcomes.from_record(record), resamples_for(record.item_ids, n_resamples=70)
    names = ["ece", "aurc", "ece[strategy=quantile]", "accuracy"]
    whole = resample(names, items, resamples)
    monkeypatch.setattr("calbench.metrics._weighted._BLOCK", 1000)
    monkeypatch.setattr("calbench.metrics._weighted._MAX_SUMS", 5000)
    for name, found in resample(names, items, resamples).items():
        assert found.values == pytest.approx(whole[name].values, abs=1e-12)


def test_a_draw_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        resamples_for(IDS).counts[0, 0] = 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Resamples(["a", "a"], [[1], [1]]), "item_ids repeat"),
        (lambda: Resamples(["a", "b"], [[1, 1]]), "counts has shape"),
        (lambda: Resamples(["a", "b"], [[1.0], [1.0]]), "counts has shape"),
        (lambda: Resamples(["a", "b"], [[-1], [3]]), "must not be negative"),
        (lambda: Resamples(["a", "b"], [[0], [0]]), "every resample needs an item"),
        (lambda: resamples_for([]), "item_ids is empty"),
        (lambda: resamples_for(["a"], n_resamples=0), "n_resamples=0"),
    ],
)
def test_bad_resamples_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_resamples_of_other_items_are_refused(record_of):
    record = record_of(37, 0.1)
    with pytest.raises(InputError, match="is in one only"):
        bootstrap(record, resamples=resamples_for(IDS))
    with pytest.raises(InputError, match="there are 37 items"):
        resample(["ece"], Outcomes.from_record(record), resamples_for(IDS[:5]))


@pytest.mark.parametrize("seed", [-1, 1.5, "42", None])
def test_a_seed_is_a_whole_number_or_a_generator(record_of, seed):
    with pytest.raises(InputError, match=r"use a whole number from 0 up, or numpy.random.default_rng\(\)"):
        bootstrap(record_of(37, 0.1), seed=seed)


def test_a_generator_gives_another_number_each_time(record_of):
    record, rng = record_of(300, 0.1), np.random.default_rng(0)
    first, second = (evaluate(record, ["auroc_confidence"], seed=rng) for _ in range(2))
    assert first != second
    assert first == evaluate(record, ["auroc_confidence"], seed=np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_changes_nothing_at_all(record_of, seed):
    candidate, reference = record_of(300, 0.15), record_of(300, 0.05)
    shuffled = candidate.take(np.random.default_rng(seed).permutation(candidate.item_ids))
    metrics = ("ece", "smece", "brier_toplabel", "calibration_slope")
    a, b = (
        bootstrap(r, metrics, n_resamples=50, seed=np.random.default_rng(5)) for r in (candidate, shuffled)
    )
    assert a == b
    a, b = (compare(reference, r, n_resamples=50).difference("ece") for r in (candidate, shuffled))
    assert a == b
