"""What the file system refuses is said in words."""

from __future__ import annotations

import errno
import os

import pytest

from calbench.errors import StoreError
from calbench.records import Predictions
from calbench.store import Store

PREDICTIONS = Predictions(["a", "b"], [[0.0, 1.0], [2.0, 0.5]], [0, 1])


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full.*store gc"),
        (errno.EROFS, "read-only: stored records can be replayed"),
    ],
    ids=["full", "read-only"],
)
def test_a_store_that_cannot_be_written_says_why_and_what_helps(number, message, tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put({"i": 0}, PREDICTIONS, {})

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(StoreError, match=message):
        store.put({"i": 1}, PREDICTIONS, {})
    with pytest.raises(StoreError, match=message):
        store.shards({"i": 1}).put("0", PREDICTIONS.logits)
    with pytest.raises(StoreError, match=message):
        store.remember({"i": 1}, list)
    assert Store(tmp_path).get({"i": 0}) is not None


def test_the_right_to_compute_needs_a_place_for_the_lock(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StoreError, match="read-only"), Store(tmp_path / "x").computing():
        pass


def test_other_errors_are_left_as_they_are(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OSError, match="broken"):
        Store(tmp_path).put({"i": 1}, PREDICTIONS, {})
