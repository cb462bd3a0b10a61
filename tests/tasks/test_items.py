"""Deduplication and the parts that never overlap."""

from __future__ import annotations

import pytest

from calbench.errors import InputError
from calbench.gates import split_items
from calbench.tasks import Dataset, Item, SequenceClassification

ITEMS = [Item(f"i{n:03}", f"text {n}", n % 2) for n in range(100)]


def test_duplicates_are_dropped_whatever_their_case_and_spaces():
    doubled = [*ITEMS, Item("z1", "TEXT  7", 0), Item("z2", " text 7\n", 1)]
    dataset = Dataset.of(doubled, 2, source="test")
    assert (len(dataset.items), dataset.n_duplicates) == (100, 2)
    assert {item.id for item in dataset.items} == {item.id for item in ITEMS}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no items"),
        ([Item("a", "x", 0), Item("a", "y", 0)], "two items have the id 'a'"),
        ([Item("a", " ", 0)], "'a' has an empty text"),
        ([Item("a", "x \ud83d", 0)], r"'a' holds '\\ud83d', half of a character"),
        ([Item("a", "x", 2)], "'a' has label 2"),
    ],
)
def test_bad_items_are_refused(items, message):
    with pytest.raises(InputError, match=message):
        Dataset.of(items, 2, source="test")


def test_parts_are_disjoint_complete_and_do_not_depend_on_order():
    partition = Dataset.of(ITEMS, 2, source="test").partition(n_training=30, n_quantization=10)
    again = Dataset.of(ITEMS[::-1], 2, source="test").partition(n_training=30, n_quantization=10)
    assert partition == again
    parts = (partition.training, partition.quantization, partition.evaluation)
    assert [len(part) for part in parts] == [30, 10, 60]
    assert {item.id for part in parts for item in part} == {item.id for item in ITEMS}


@pytest.mark.parametrize(
    ("given", "n_quantization"), [({}, 10), ({"n_quantization": 30}, 30), ({"n_quantization": 0}, 0)]
)
def test_a_tenth_is_set_aside_for_quantizers_where_nobody_says(given, n_quantization):
    partition = SequenceClassification("t", ("a", "b"), lambda: ITEMS, **given).partition
    assert len(partition.quantization) == n_quantization
    assert len(partition.evaluation) == 100 - n_quantization


def test_parts_that_leave_nothing_are_refused():
    with pytest.raises(InputError, match="leave some to evaluate on"):
        Dataset.of(ITEMS, 2, source="test").partition(n_training=90, n_quantization=10)


def test_splits_are_disjoint_seeded_and_do_not_depend_on_order():
    ids = [item.id for item in ITEMS]
    split = split_items(ids, n_calibration=40, seed=1)
    assert split == split_items(ids[::-1], n_calibration=40, seed=1)
    assert split != split_items(ids, n_calibration=40, seed=2)
    assert not set(split.calibration) & set(split.test)
    assert len(split.calibration) == 40
    assert sorted(split.calibration + split.test) == ids


def test_fingerprint_changes_with_any_field():
    base = Dataset.of(ITEMS, 2, source="test").fingerprint
    for item in (Item("i000", "text 0", 1), Item("i000", "text!", 0), Item("x", "text 0", 0)):
        assert Dataset.of([item, *ITEMS[1:]], 2, source="test").fingerprint != base
