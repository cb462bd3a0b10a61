"""Records are checked at construction, and say which row is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import Predictions, TopLabelPredictions, metrics
from calbench.errors import InputError

IDS, LOGITS, LABELS = ["a", "b", "c"], [[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]], [0, 0, 1]


def test_arrays_are_float32_and_read_only():
    record = Predictions(IDS, LOGITS, LABELS)
    assert record.logits.dtype == np.float32
    for array in (record.logits, record.labels, record.item_ids, record.probs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


def test_the_callers_arrays_are_left_alone():
    logits = np.array(LOGITS, dtype=np.float32)
    Predictions(IDS, logits, LABELS)
    logits[0, 0] = 7
    assert logits.flags.writeable


def test_softmax_is_taken_in_float64():
    record = Predictions(["a"], [[1000.0, 0.0]], [0])
    assert record.probs.tolist() == [[1.0, 0.0]]
    assert record.probs.dtype == np.float64


def test_padding_has_probability_zero():
    record = Predictions(["a"], [[0.0, 0.0, -np.inf]], [1])
    assert record.probs.tolist() == [[0.5, 0.5, 0.0]]


def test_first_of_tied_classes_is_predicted():
    assert Predictions(IDS, LOGITS, LABELS).correct.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("ids", "logits", "labels", "message"),
    [
        ([], np.empty((0, 2)), [], "empty"),
        (["a", "a"], [[0, 1], [1, 0]], [0, 1], r"item_ids\[1\] = 'a' appears twice"),
        (["a", ""], [[0, 1], [1, 0]], [0, 1], r"item_ids\[1\]"),
        (["a", None], [[0, 1], [1, 0]], [0, 1], r"item_ids\[1\] = None"),
        (["a", "b"], [[0, 1], [np.nan, 0]], [0, 1], r"logits\[1\].*NaN"),
        (["a", "b"], [[0, 1], [np.inf, 0]], [0, 1], r"logits\[1\].*inf"),
        (["a", "b"], [[0, 1], [-np.inf, -np.inf]], [0, 1], r"logits\[1\] is -inf throughout"),
        (["a", "b"], [[0, 1], [1, -np.inf]], [0, 1], r"labels\[1\] = 1 points at"),
        (["a", "b"], [[0, 1], [1, 0]], [0, 2], r"labels\[1\] = 2 is outside \[0, 2\)"),
        (["a", "b"], [[0, 1], [1, 0]], [-1, 0], r"labels\[0\] = -1"),
        (["a", "b"], [[0, 1], [1, 0]], [0.0, 1.0], "labels has dtype float64"),
        (["a", "b"], [[0, 1], [1, 0]], [0], "labels has shape"),
        (["a", "b"], [[0, 1]], [0, 1], "1 rows but there are 2"),
        (["a", "b"], [[0], [1]], [0, 0], "2 classes or more"),
        (["a", "b"], [[0, 1], [1]], [0, 0], "rectangular"),
        (["a", "b"], [["x", "y"], ["x", "y"]], [0, 0], "numbers"),
    ],
)
def test_bad_records_are_refused(ids, logits, labels, message):
    with pytest.raises(InputError, match=message):
        Predictions(ids, logits, labels)


def test_from_probs_comes_back():
    probs = np.array([[0.2, 0.8], [1.0, 0.0]])
    # Log-probabilities are kept as float32, whose relative step is 6e-8.
    np.testing.assert_allclose(Predictions.from_probs(["a", "b"], probs, [1, 0]).probs, probs, atol=1e-7)


@pytest.mark.parametrize("probs", [[[0.5, 0.6]], [[1.2, -0.2]], [[np.nan, 1.0]], [[3.0, -2.0]], [0.5]])
def test_from_probs_refuses_what_is_no_distribution(probs):
    with pytest.raises(InputError, match="probs"):
        Predictions.from_probs(["a"], probs, [0])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("digits", [2, 17])
def test_probabilities_are_no_logits(n_classes, digits):
    probs = np.random.default_rng(0).dirichlet(np.ones(n_classes), size=50).round(digits)
    with pytest.raises(InputError, match=r"logits are probabilities .*from_probs"):
        Predictions(range(50), probs, np.zeros(50, int))
    padded = np.column_stack([probs, np.full(50, -np.inf)])
    with pytest.raises(InputError, match="logits are probabilities"):
        Predictions(range(50), padded, np.zeros(50, int))


@pytest.mark.parametrize("huge", [1e39, -1e39, 10**40])
def test_a_finite_logit_beyond_float32_is_named(huge):
    with pytest.raises(InputError, match=r"logits\[1\] holds .*, beyond what float32 can hold"):
        Predictions(["a", "b"], [[0.0, 1.0], [huge, 1.0]], [0, 1])


def test_logits_of_a_few_rows_may_sum_to_one():
    assert len(Predictions(range(9), np.tile([1.0, 0.0], (9, 1)), np.zeros(9, int))) == 9


def test_one_row_beyond_probabilities_makes_logits():
    logits = np.random.default_rng(0).dirichlet(np.ones(2), size=50)
    logits[17] = [1.2, -0.2]
    assert len(Predictions(range(50), logits, np.zeros(50, int))) == 50


def test_take_aligns_by_id():
    record = Predictions(IDS, LOGITS, LABELS).take(["c", "a"])
    assert record.item_ids.tolist() == ["c", "a"]
    assert record.logits.tolist() == [LOGITS[2], LOGITS[0]]


def test_take_refuses_no_rows_of_the_record():
    """Twelve rows that look like probabilities among twelve that do not."""
    logits = np.vstack([np.full((12, 2), 0.5), np.full((12, 2), 3.0)])
    record = Predictions(range(24), logits, [0] * 24)
    taken = record.take(range(12))
    assert taken.logits.tolist() == logits[:12].tolist()
    assert not any(getattr(taken, name).flags.writeable for name in ("item_ids", "logits", "labels"))


def test_take_names_what_is_missing():
    with pytest.raises(InputError, match="no item 'z'"):
        Predictions(IDS, LOGITS, LABELS).take(["a", "z"])


def test_items_hash_ignores_order_but_not_labels():
    record = Predictions(IDS, LOGITS, LABELS)
    assert record.items_hash == record.take(["b", "c", "a"]).items_hash
    assert record.items_hash != Predictions(IDS, LOGITS, [1, 0, 1]).items_hash


def test_top_label_record():
    record = Predictions(IDS, LOGITS, LABELS).to_top_label()
    assert record.correct.tolist() == [True, False, False]
    assert record.take(["b"]).confidences.tolist() == [record.confidences[1]]


@pytest.mark.parametrize(
    ("confidences", "correct", "message"),
    [
        ([0.5, 1.5], [True, False], r"confidences\[1\]"),
        ([0.5, np.nan], [True, False], r"confidences\[1\]"),
        ([0.5], [True, False], "shape"),
        ([0.5, 0.5], [0.0, 0.5], "correct has dtype"),
        ([0.5, 0.5], [0, 2], "correct has dtype"),
    ],
)
def test_bad_top_label_records_are_refused(confidences, correct, message):
    with pytest.raises(InputError, match=message):
        TopLabelPredictions(["a", "b"], confidences, correct)


def test_a_right_class_of_probability_0_is_an_option_all_the_same():
    record = Predictions.from_probs(["a", "b"], [[1.0, 0.0], [0.0, 1.0]], [1, 1])
    np.testing.assert_allclose(record.logits, [[0, -708.4], [-np.inf, 0]], atol=0.01)
    assert metrics.evaluate("nll", record) == pytest.approx(708.4 / 2, abs=0.01)
