"""Which further items the gates of a cell may ask, and how many were planned."""

from __future__ import annotations

import random

import numpy as np
import pytest

from calbench import models, quantizers, tasks
from calbench.errors import ModelLoadingForbiddenError
from calbench.gates import transfer
from calbench.models import ModelSource
from calbench.records import Predictions, one_record
from calbench.runs import Cell, Profile, Runner, cell_looks
from calbench.store import Store, find
from calbench.tasks import Item, SequenceClassification

RNG = random.Random(1)
ITEMS = [
    Item(f"i{i:03}", f"t{i} " + " ".join(f"w{RNG.randrange(60)}" for _ in range(6)), i % 2)
    for i in range(310)
]
TASK = SequenceClassification("coin", ("no", "yes"), lambda: ITEMS, n_quantization=10)
PROFILE = Profile("short", {"sequence-classification": 30}, {"sequence-classification": 40})
CELL = Cell("tiny", "coin", "fp32", "temperature")

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def known(tiny_encoder, monkeypatch):
    """Make the tiny model and its task known by name."""
    source = ModelSource(
        "tiny", "sequence-classification", str(tiny_encoder), classes=("no", "yes"), max_length=32
    )
    monkeypatch.setattr(models, "get", {"tiny": source}.__getitem__)
    monkeypatch.setattr(tasks, "get", {"coin": TASK}.__getitem__)


def runner(folder, most=None, **options):
    return Runner(Store(folder), PROFILE, n_resamples=200, most_items=most, **options)


def counts(found):
    return [(each.look.n, each.spans) for each in found]


def test_looks_double_over_later_items_and_the_first_is_the_profiles(tmp_path):
    assert counts(cell_looks(runner(tmp_path, 100_000), CELL)) == [
        (40, ()),
        (80, ((70, 110),)),
        (270, ((70, 110), (110, 300))),
    ]


def test_a_profile_that_does_not_ask_on_takes_one_look_and_keeps_a_reserve(tmp_path):
    (only,) = cell_looks(runner(tmp_path), CELL)
    assert (only.look.n, only.look.share, only.spans) == (40, 0.8, ())


def test_asking_more_in_a_later_run_spends_from_the_reserve(tmp_path):
    first = cell_looks(runner(tmp_path, 80), CELL)
    later = cell_looks(runner(tmp_path, 270), CELL)
    assert [each.look for each in later[:2]] == [each.look for each in first]
    assert sum(each.look.share for each in first) == pytest.approx(0.8)
    assert sum(each.look.share for each in later[2:]) == pytest.approx(0.1)


def test_asking_fewer_in_a_later_run_takes_fewer_of_the_same_looks(tmp_path):
    planned = cell_looks(runner(tmp_path, 270), CELL)
    assert cell_looks(runner(tmp_path, 100), CELL) == planned[:2]
    assert cell_looks(runner(tmp_path, 270), CELL) == planned


def test_another_quantizer_has_a_plan_of_its_own(tmp_path):
    cell_looks(runner(tmp_path, 80), CELL)
    other = cell_looks(runner(tmp_path, 270), Cell("tiny", "coin", "bnb-int8", "temperature"))
    assert sum(each.look.share for each in other) == pytest.approx(0.8)


def test_a_look_adds_test_items_and_changes_no_fit(tmp_path):
    made = runner(tmp_path, 80)
    first, second = cell_looks(made, CELL)
    before = made.transfer(CELL).comparison
    after = made.transfer(CELL, spans=second.spans).comparison
    assert (before.n_test, after.n_test, after.n_calibration) == (40, 80, 30)
    # the same from one record of all items, by the public function
    whole = one_record(
        [made.record("tiny", "fp32", "coin", span=span).predictions for span in (None, *second.spans)]
    )
    old = set(before.arm("transferred").resamples.item_ids)
    new = set(after.arm("transferred").resamples.item_ids)
    assert old < new
    expected = transfer(whole, whole, calibration_ids=set(whole.item_ids.tolist()) - new, n_resamples=200)
    for metric in ("ece", "nll"):
        assert after.estimate(metric).value == expected.estimate(metric).value
    assert made.transfer(CELL).comparison.estimate("ece") == before.estimate("ece")
    assert not first.spans


def test_later_looks_ask_the_models_that_the_first_one_loaded(tmp_path, monkeypatch):
    loaded = []
    quantize = quantizers.quantize
    monkeypatch.setattr(
        quantizers, "quantize", lambda method, *a, **k: loaded.append(method.id) or quantize(method, *a, **k)
    )
    made, cell = runner(tmp_path, 100_000), Cell("tiny", "coin", "bf16", "temperature")
    for look in cell_looks(made, cell):
        made.transfer(cell, spans=look.spans)
    assert loaded == ["fp32", "bf16"]


def test_what_people_gave_is_kept_when_parts_of_a_task_are_joined():
    two = Predictions(["a", "b"], [[1, 0], [0, 2]], [0, 1], label_distribution=[[0.9, 0.1], [0.4, 0.6]])
    three = Predictions(["c"], [[1, 0, 2]], [2], label_distribution=[[0.2, 0.3, 0.5]])
    joined = one_record([two, three])
    assert joined.label_distribution.tolist() == [[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.3, 0.5]]
    assert np.isneginf(joined.logits[:2, 2]).all()
    unrated = one_record([two, Predictions(["c"], [[1, 0]], [0])])
    assert unrated.label_distribution is None


def test_cross_fitted_looks_have_all_items_that_were_asked(tmp_path):
    made = runner(tmp_path, 200)
    first, second = cell_looks(made, CELL, 5)
    assert counts((first, second)) == [(70, ()), (200, ((70, 200),))]
    before = made.transfer(CELL, folds=5).comparison
    after = made.transfer(CELL, spans=second.spans, folds=5).comparison
    assert (before.n_test, before.n_calibration, before.folds) == (70, 70, 5)
    assert (after.n_test, after.n_calibration, after.folds) == (200, 200, 5)


def test_what_later_looks_ask_takes_no_name_away_from_the_first_items(tmp_path):
    made = runner(tmp_path)
    first = made.record("tiny", "fp32", "coin")
    later = made.record("tiny", "fp32", "coin", span=(70, 110))
    assert find(made.store, "tiny::coin::fp32").key == first.key
    assert find(made.store, "tiny::coin::fp32::70-110").key == later.key


def test_a_replay_says_in_what_the_record_that_is_there_differs(tmp_path):
    runner(tmp_path).record("tiny", "fp32", "coin")
    shorter = Profile("shorter", {"sequence-classification": 20}, {"sequence-classification": 30})
    again = Runner(Store(tmp_path), shorter, replay=True)
    with pytest.raises(ModelLoadingForbiddenError, match=r"the one that is there .* differs in task\.items"):
        again.record("tiny", "fp32", "coin")
