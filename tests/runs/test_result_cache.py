"""Results that follow from stored records are read back, and only while nothing that matters changed."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path

import pytest

import calbench
from calbench import Predictions
from calbench.baselines import snapshot
from calbench.errors import CorruptRecordError
from calbench.gates import split_items, transfer_between
from calbench.metrics import evaluate
from calbench.report import row_of
from calbench.runs import ResultCache
from calbench.runs import _result_cache as memory
from calbench.runs._result_cache import code_hash
from calbench.statistics import change, resample
from calbench.store import Store


@pytest.fixture
def recall(tmp_path):
    """Recall from a store; returns the value and whether it had to be made."""

    def run(about, value=None):
        made = []

        def make():
            made.append(True)
            return value

        return ResultCache(Store(tmp_path)).recall(about, make), bool(made)

    return run


def test_the_second_time_nothing_is_made(recall):
    value = {"interval": [0.1, math.inf], "name": "x"}
    assert recall({"cell": 1}, value) == (value, True)
    assert recall({"cell": 1}, "other") == (value, False)


def test_another_setting_is_another_result(recall):
    recall({"cell": 1, "level": 0.95}, "a")
    assert recall({"cell": 1, "level": 0.9}, "b") == ("b", True)


def test_changed_code_is_another_result(recall, monkeypatch):
    recall({"cell": 1}, "a")
    monkeypatch.setattr(memory, "code_hash", lambda: "changed")
    assert recall({"cell": 1}, "b") == ("b", True)


@pytest.mark.parametrize(
    "step", [Predictions, split_items, transfer_between, evaluate, resample, change, snapshot, row_of]
)
def test_the_hash_covers_each_step_from_predictions_to_results(step):
    root = Path(calbench.__file__).parent
    module = Path(inspect.getfile(step)).relative_to(root)
    assert any(module.is_relative_to(part) for part in memory._CODE)


def test_every_part_of_the_code_changes_the_hash(monkeypatch):
    before = code_hash()
    for name in memory._CODE:
        code_hash.cache_clear()
        monkeypatch.setattr(memory, "_CODE", tuple(part for part in memory._CODE if part != name))
        assert code_hash() != before
        monkeypatch.undo()
    code_hash.cache_clear()
    assert code_hash() == before


def test_foreign_code_is_never_remembered(recall):
    assert recall(None, "a") == ("a", True)
    assert recall(None, "b") == ("b", True)


def test_a_damaged_memory_is_refused_and_named(recall, tmp_path):
    recall({"cell": 1}, "a")
    (path,) = (tmp_path / "memos").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "value": "b"}))
    with pytest.raises(CorruptRecordError, match=path.name):
        recall({"cell": 1})
