"""Finished parts survive a killed run, and are never mistaken for another's."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from calbench.errors import CorruptRecordError
from calbench.store import Store

VALUES = np.array([[1.5, -np.inf], [0.25, 3.0]], dtype=np.float32)
IDENTITY = {"task": "t"}


def only_file(store):
    (path,) = store.shards(IDENTITY).folder.iterdir()
    return path


def test_a_part_comes_back_bit_for_bit(tmp_path):
    Store(tmp_path).shards(IDENTITY).put("00000-a", VALUES)
    np.testing.assert_array_equal(Store(tmp_path).shards(IDENTITY).get("00000-a", (2, 2)), VALUES)


def test_another_plan_or_identity_finds_nothing(tmp_path):
    store = Store(tmp_path)
    store.shards(IDENTITY).put("00000-a", VALUES)
    assert store.shards(IDENTITY).get("00000-b", (2, 2)) is None
    assert store.shards({"task": "u"}).get("00000-a", (2, 2)) is None


@pytest.mark.parametrize("place", [0, 31, 32, -1])
def test_a_flipped_byte_is_detected(place, tmp_path):
    store = Store(tmp_path)
    store.shards(IDENTITY).put("00000-a", VALUES)
    content = bytearray(only_file(store).read_bytes())
    content[place] ^= 1
    only_file(store).write_bytes(bytes(content))
    with pytest.raises(CorruptRecordError, match="00000-a"):
        store.shards(IDENTITY).get("00000-a", (2, 2))
    assert Store(tmp_path, on_corrupt="recompute").shards(IDENTITY).get("00000-a", (2, 2)) is None


def test_a_part_of_another_shape_is_refused(tmp_path):
    store = Store(tmp_path)
    store.shards(IDENTITY).put("00000-a", VALUES)
    with pytest.raises(CorruptRecordError):
        store.shards(IDENTITY).get("00000-a", (3, 2))


@pytest.mark.parametrize("name", ["put", "put_rows"])
def test_parts_that_another_machine_no_longer_needs_may_go_at_any_time(name, tmp_path, monkeypatch):
    folder = Store(tmp_path).shards(IDENTITY)

    def finished_meanwhile(data):
        folder.clear()
        return hashlib.sha256(data)

    monkeypatch.setattr("calbench.store._shards.hashlib", SimpleNamespace(sha256=finished_meanwhile))
    getattr(folder, name)("00000-a", VALUES if name == "put" else [1])
    assert folder.get("00000-a", (2, 2)) is None
