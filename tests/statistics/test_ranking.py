from __future__ import annotations

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.metrics import Outcomes, get
from calbench.statistics import (
    Rank,
    Resamples,
    difference,
    differences_from_best,
    p_value,
    rank_intervals,
    resample,
    resamples_for,
)
from calbench.statistics._intervals import Resampled, difference_bounds

BRIER = "brier_toplabel"


@pytest.fixture
def board(record_of):
    def build(gaps, metric="brier_toplabel", n=800):
        records = {f"gap {gap}": record_of(n, gap, noise=0.01 * i) for i, gap in enumerate(gaps)}
        resamples = resamples_for(next(iter(records.values())).item_ids, n_resamples=500)
        return {k: resample([metric], Outcomes.from_record(r), resamples)[metric] for k, r in records.items()}

    return build


def test_entries_that_differ_clearly_have_certain_ranks(board):
    ranks = rank_intervals(board([0.3, 0.0, 0.15]))
    assert [(r.rank, r.interval) for r in ranks.values()] == [(3, (3, 3)), (1, (1, 1)), (2, (2, 2))]


def test_entries_that_hardly_differ_share_their_ranks(board):
    ranks = rank_intervals(board([0.1, 0.101, 0.4]))
    first, second, last = ranks.values()
    assert first.interval == second.interval == (1, 2)
    assert last.interval == (3, 3)


def test_equal_entries_share_the_better_rank(board):
    entry = board([0.1, 0.2])["gap 0.1"]
    assert rank_intervals({"a": entry, "b": entry})["b"].rank == 1


def test_higher_accuracy_ranks_first(board):
    ranks = rank_intervals(board([0.3, 0.0], metric="accuracy"))
    assert ranks["gap 0.0"].rank == 1


def test_differences_from_the_best_are_adjusted_together(board):
    entries = board([0.0, 0.002, 0.3])
    found = differences_from_best(entries)
    assert set(found) == {"gap 0.002", "gap 0.3"}
    for name, p in found.items():  # of three pairs
        assert p == min(1, 3 * p_value(entries["gap 0.0"], entries[name]))
    assert found["gap 0.3"] < 0.001
    assert found["gap 0.002"] > 0.05


def test_among_equals_the_best_seldom_seems_to_be_better():
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        confidences = rng.uniform(0.5, 1, 300)
        draw = Resamples.draw(range(300), n_resamples=500, seed=rng)
        answers = [Outcomes.from_top_label(confidences, rng.random(300) < confidences) for _ in range(12)]
        entries = {str(i): resample([BRIER], a, draw)[BRIER] for i, a in enumerate(answers)}
        alarms += min(differences_from_best(entries).values()) <= 0.05
    assert alarms <= 6  # 3 may be expected at most; 14 without allowing for the choice of the best


def test_equals_of_other_sharpness_share_their_ranks():
    rng = np.random.default_rng(0)
    luck = rng.random(1000)
    draw = Resamples.draw(range(1000), n_resamples=500, seed=rng)
    confidences = {"sharp": rng.uniform(0.95, 1, 1000), "broad": rng.uniform(0.5, 0.9, 1000)}
    answers = {name: Outcomes.from_top_label(c, luck < c) for name, c in confidences.items()}
    ranks = rank_intervals({name: resample(["ece"], a, draw)["ece"] for name, a in answers.items()})
    assert {name: rank.interval for name, rank in ranks.items()} == {"sharp": (1, 2), "broad": (1, 2)}


def test_what_is_not_defined_comes_last():
    confidences = np.linspace(0.5, 1, 200)
    draw = Resamples.draw(range(200), n_resamples=200, seed=np.random.default_rng(0))
    entries = {
        "all right": resample(["auroc_confidence"], Outcomes.from_top_label(confidences, [True] * 200), draw),
        "half": resample(
            ["auroc_confidence"], Outcomes.from_top_label(confidences, [True, False] * 100), draw
        ),
    }
    ranks = rank_intervals({name: found["auroc_confidence"] for name, found in entries.items()})
    assert ranks["half"] == Rank(1, (1, 1))
    assert ranks["all right"] == Rank(2, (2, 2))


@pytest.mark.parametrize(("metric", "gap"), [("brier_toplabel", 0.028), ("ece", 0.09)])
def test_the_p_value_is_where_the_interval_meets_zero(record_of, metric, gap):
    a, b = record_of(1500, 0.02), record_of(1500, gap, seed=1)
    resamples = resamples_for(a.item_ids, n_resamples=4000)
    a, b = (resample([metric], Outcomes.from_record(record), resamples)[metric] for record in (a, b))
    p = p_value(a, b)
    assert 1e-4 < p < 1
    low, high = difference(a, b, level=1 - p * 1.01).interval
    assert not low <= 0 <= high
    low, high = difference(a, b, level=1 - p * 0.99).interval
    assert low <= 0 <= high


def test_a_model_does_not_differ_from_itself(board):
    entry = board([0.1, 0.2])["gap 0.1"]
    assert p_value(entry, entry) == 1.0


def test_what_cannot_be_ranked_is_refused(board):
    with pytest.raises(InputError, match="at least 2"):
        rank_intervals({})
    with pytest.raises(InputError, match="neither way is better"):
        rank_intervals(board([0.1, 0.2], metric="overconfidence_gap"))


def test_ranks_of_many_values_are_those_of_the_bounds_of_each_pair():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 0.3, 12)
    drawn = np.abs(values[:, None] + rng.normal(0, 0.03, (12, 300)) + rng.normal(0, 0.03, (1, 300)))
    values[[3, 7]] = drawn[[3, 7]] = np.nan
    entries = {str(i): Resampled.of_values(get("ece"), value, drawn[i], 50) for i, value in enumerate(values)}
    defined = [name for name in entries if name not in "37"]
    ranks = rank_intervals(entries)
    for name in defined:
        others = [entries[other] for other in defined if other != name]
        bounds = np.array([difference_bounds(other, entries[name]) for other in others])
        best = 1 + (bounds[:, 0] > 0).sum()
        worst = len(defined) - (bounds[:, 1] < 0).sum()
        rank = ranks[name].rank
        assert ranks[name].interval == (min(best, rank), max(worst, rank))
    assert [ranks[name].interval for name in "37"] == [(11, 11), (11, 11)]
