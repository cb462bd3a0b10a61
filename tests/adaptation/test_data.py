"""Nothing that is scored is ever trained on or watched."""

from __future__ import annotations

import numpy as np
import pytest

from calbench.adaptation import TrainingData
from calbench.errors import InputError, LeakageError
from calbench.tasks import Item
from tests.adaptation.conftest import items

TRAINING, CALIBRATION, TEST = (items(20, seed=s, prefix=p) for s, p in ((0, "t"), (1, "c"), (2, "x")))


def test_training_on_an_item_of_the_test_split_is_refused():
    with pytest.raises(LeakageError, match=r"1 items would be both trained on and scored, 'x003' first"):
        TrainingData.of([*TRAINING, TEST[3]], calibration=CALIBRATION, test=TEST)


def test_stopping_by_an_item_of_the_test_split_is_refused():
    with pytest.raises(LeakageError, match="watched for early stopping and scored"):
        TrainingData.of(TRAINING, calibration=[TEST[3]], test=TEST)


def test_training_on_an_item_of_the_calibration_split_is_refused():
    with pytest.raises(LeakageError, match="trained on and watched"):
        TrainingData.of([CALIBRATION[0]], calibration=CALIBRATION, test=TEST)


def test_the_same_text_under_another_id_is_refused():
    twin = Item("other", f"  {TEST[5].text.upper()} ", TEST[5].label)
    with pytest.raises(LeakageError, match="'other', which would be trained on, has the text of 'x005'"):
        TrainingData.of([*TRAINING, twin], calibration=CALIBRATION, test=TEST)


@pytest.mark.parametrize(("training", "calibration"), [([], CALIBRATION), (TRAINING, [])])
def test_nothing_to_learn_from_is_refused(training, calibration):
    with pytest.raises(InputError, match="there are no"):
        TrainingData.of(training, calibration=calibration, test=TEST)


def test_an_epoch_reads_every_item_once_in_an_order_of_its_own():
    data = TrainingData.of(TRAINING, calibration=CALIBRATION, test=TEST)
    epochs = [np.concatenate([data.rows(7, 3 * epoch + step, 8) for step in range(3)]) for epoch in (0, 1)]
    for rows in epochs:
        assert sorted(rows.tolist()) == list(range(20))
    assert (epochs[0] != epochs[1]).any()
    assert (data.rows(7, 1, 8) != data.rows(8, 1, 8)).any()
