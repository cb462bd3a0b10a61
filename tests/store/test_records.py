"""The store hands out exactly what was put under exactly that identity, or nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from calbench import Predictions
from calbench.cache import discard
from calbench.errors import CorruptRecordError, InputError
from calbench.store import Store, key_of
from calbench.store import _records as records

IDENTITY = {"model": {"weights": "w", "quantizer": "fp32"}, "tokenizer": "t", "versions": {"torch": "2"}}
PREDICTIONS = Predictions(["a", "b"], [[0.0, 1.0], [2.0, 0.5]], [1, 0], {"task": "t"})


def put(store, identity=IDENTITY):
    return store.put(identity, PREDICTIONS, {"seconds": 1.5})


def test_a_record_comes_back_from_disk(tmp_path):
    put(Store(tmp_path))
    found = Store(tmp_path).get(IDENTITY)
    assert found is not None
    assert found.predictions.logits.tolist() == PREDICTIONS.logits.tolist()
    assert found.provenance == {"seconds": 1.5}
    assert found.key == key_of(IDENTITY)


def test_a_file_is_no_store(tmp_path):
    file = tmp_path / "record.csv"
    file.touch()
    with pytest.raises(InputError, match=r"record\.csv is a file, and a store is a folder"):
        Store.at(file)


def test_nothing_is_found_under_another_identity(tmp_path):
    put(Store(tmp_path))
    for changed in (
        {**IDENTITY, "tokenizer": "other"},
        {**IDENTITY, "model": {"weights": "other", "quantizer": "fp32"}},
        {**IDENTITY, "model": {"weights": "w", "quantizer": "bnb-nf4"}},
        {**IDENTITY, "versions": {"torch": "3"}},
        {k: v for k, v in IDENTITY.items() if k != "tokenizer"},
    ):
        assert Store(tmp_path).get(changed) is None


def test_a_flipped_byte_is_detected(tmp_path):
    folder = Store(tmp_path).folder(put(Store(tmp_path)).key)
    for file in folder.iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        original = file.read_bytes()
        file.write_bytes(bytes(content))
        with pytest.raises(CorruptRecordError, match="delete"):
            Store(tmp_path).get(IDENTITY)
        file.write_bytes(original)
    assert Store(tmp_path).get(IDENTITY) is not None


def test_a_missing_file_is_detected(tmp_path):
    folder = Store(tmp_path).folder(put(Store(tmp_path)).key)
    (folder / "predictions.safetensors").unlink()
    with pytest.raises(CorruptRecordError, match=r"predictions\.safetensors"):
        Store(tmp_path).get(IDENTITY)


def test_a_record_moved_under_another_key_is_refused(tmp_path):
    store = Store(tmp_path)
    folder = store.folder(put(store).key)
    other = {**IDENTITY, "tokenizer": "other"}
    store.folder(key_of(other)).parent.mkdir(exist_ok=True, parents=True)
    folder.rename(store.folder(key_of(other)))
    with pytest.raises(CorruptRecordError, match="describes another record"):
        Store(tmp_path).get(other)


def test_a_newer_format_is_refused(tmp_path):
    path = Store(tmp_path).folder(put(Store(tmp_path)).key) / "record.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(CorruptRecordError, match="format 99"):
        Store(tmp_path).get(IDENTITY)


def meanwhile(monkeypatch, act):
    """Have something happen once between the reading of a manifest and of its data."""
    whole, done = records.sha256_of, []

    def acting(path):
        if not done:
            done.append(path)
            act()
        return whole(path)

    monkeypatch.setattr(records, "sha256_of", acting)


def test_a_record_that_is_deleted_while_it_is_read_is_not_there(tmp_path, monkeypatch):
    folder = Store(tmp_path).folder(put(Store(tmp_path)).key)
    meanwhile(monkeypatch, lambda: discard(folder))
    assert Store(tmp_path).get(IDENTITY) is None


def test_a_record_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    put(Store(tmp_path))
    other = Predictions(["c"], [[3.0, 4.0]], [1])
    meanwhile(monkeypatch, lambda: Store(tmp_path).put(IDENTITY, other, {"seconds": 2.0}))
    found = Store(tmp_path).get(IDENTITY)
    assert found.predictions.item_ids.tolist() == ["c"]
    assert found.provenance == {"seconds": 2.0}


def write_for_ever(root):
    store = Store(root)
    for i in range(10**9):
        store.put({"i": i}, PREDICTIONS, {})


def keys_in(root):
    return [folder.name for folder in (root / "records").glob("*/*") if not folder.name.startswith(".")]


def test_a_killed_writer_leaves_no_partial_record(tmp_path):
    context = multiprocessing.get_context("fork")
    for delay in (0.0, 0.013, 0.029, 0.041, 0.057):
        root = tmp_path / str(delay)
        process = context.Process(target=write_for_ever, args=(root,))
        process.start()
        while not keys_in(root):
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for i in range(len(keys_in(root))):
            assert Store(root).get({"i": i}) is not None


def test_machines_run_models_at_the_same_time_and_processes_of_one_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "one")
    with Store(tmp_path).computing():
        with pytest.raises(TimeoutError), Store(tmp_path).computing(timeout_seconds=0):
            pass
        monkeypatch.setattr("platform.node", lambda: "two")
        with Store(tmp_path).computing(timeout_seconds=0):
            pass


def n_open_files():
    listed = Path("/proc/self/fd")
    return len([*listed.iterdir()]) if listed.is_dir() else 0


def test_a_store_that_many_machines_have_used_is_kept_idle_by_two_locks(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for i in range(50):
        monkeypatch.setattr("platform.node", lambda i=i: f"machine-{i}")
        with store.computing():
            pass
    before = n_open_files()
    with store.idle(timeout_seconds=0):
        after = n_open_files()
        monkeypatch.setattr("platform.node", lambda: "a new one")
        with pytest.raises(TimeoutError), store.computing(timeout_seconds=0):
            pass
    assert after - before <= 2
    with store.computing(timeout_seconds=0):
        pass


def test_what_depends_on_nothing_else_is_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return [[1, 2], [3]]

    for _ in range(2):
        assert Store(tmp_path).remember({"texts": ["a"]}, make) == [[1, 2], [3]]
    assert len(made) == 1
    assert Store(tmp_path).remember({"texts": ["b"]}, make) == [[1, 2], [3]]
    assert len(made) == 2


@pytest.mark.parametrize("content", ["", "{}", '{"value": [1], "checksum": "x"}'])
def test_a_damaged_memo_is_refused(content, tmp_path):
    Store(tmp_path).remember({"a": 1}, lambda: [1])
    (path,) = (tmp_path / "memos").glob("*.json")
    path.write_text(content)
    with pytest.raises(CorruptRecordError, match="delete it"):
        Store(tmp_path).remember({"a": 1}, lambda: [1])


def test_the_same_record_is_the_same_bytes_each_time(tmp_path):
    folders = [Store(tmp_path / str(i)).folder(put(Store(tmp_path / str(i))).key) for i in range(12)]
    assert len({(folder / "predictions.safetensors").read_bytes() for folder in folders}) == 1
