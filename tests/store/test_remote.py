"""A shared store at an fsspec address: what one machine made, another finds."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from calbench.errors import CorruptRecordError, StoreError
from calbench.records import Predictions
from calbench.store import Store, collect, key_of
from calbench.store._remote import MANIFEST

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

PREDICTIONS = Predictions(["a", "b"], [[0.0, 1.0], [2.0, 0.5]], [0, 1])
IDENTITY = {"task": "t"}


@pytest.fixture(params=["memory", "local"])
def address(request, tmp_path):
    return f"memory://{uuid.uuid4()}" if request.param == "memory" else f"file://{tmp_path / 'shared'}"


@pytest.fixture
def machine(tmp_path, monkeypatch, address):
    def of(name):
        monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / name))
        return Store.at(address)

    return of


def shared_data(address, key):
    files, root = fsspec.core.url_to_fs(address)
    (data,) = files.glob(f"{root}/records/{key[:2]}/{key}/*.safetensors")
    return files, data


def test_what_one_machine_made_another_finds(machine):
    made = machine("one").put(IDENTITY, PREDICTIONS, {"by": "one"})
    found = machine("two").get(IDENTITY)
    assert found.provenance == {"by": "one"}
    assert found.predictions.logits.tolist() == made.predictions.logits.tolist()


def test_nothing_is_found_where_nothing_was_made(machine):
    assert machine("one").get(IDENTITY) is None


def test_a_record_without_its_manifest_is_not_there_yet(machine, address):
    key = machine("one").put(IDENTITY, PREDICTIONS, {}).key
    files, root = fsspec.core.url_to_fs(address)
    files.rm_file(f"{root}/records/{key[:2]}/{key}/{MANIFEST}")
    assert machine("two").get(IDENTITY) is None


def test_a_record_that_was_damaged_there_is_refused_here(machine, address):
    key = machine("one").put(IDENTITY, PREDICTIONS, {}).key
    files, data = shared_data(address, key)
    files.pipe_file(data, b"other")
    with pytest.raises(CorruptRecordError, match="does not match its checksum"):
        machine("two").get(IDENTITY)


def test_a_damaged_record_there_is_replaced_by_one_that_is_made_again(machine, address):
    key = machine("one").put(IDENTITY, PREDICTIONS, {}).key
    files, root = fsspec.core.url_to_fs(address)
    files.pipe_file(f"{root}/records/{key[:2]}/{key}/{MANIFEST}", b"other")
    two = dataclasses.replace(machine("two"), on_corrupt="recompute")
    assert two.get(IDENTITY) is None
    two.put(IDENTITY, PREDICTIONS, {"by": "two"})
    assert machine("three").get(IDENTITY).provenance == {"by": "two"}


def test_two_machines_may_share_one_record_at_once(machine, monkeypatch):
    one, two = machine("one"), machine("two")
    whole, others = type(one.remote._files).pipe_file, [two]

    def slow(files, path, content, **kwargs):
        whole(files, path, content, **kwargs)
        if others:  # the other machine writes all of its record between the two files of this one
            others.pop().put(IDENTITY, Predictions(["a"], [[0.5, 1.5]], [0]), {"by": "two"})

    monkeypatch.setattr(type(one.remote._files), "pipe_file", slow)
    one.put(IDENTITY, PREDICTIONS, {"by": "one"})
    found = machine("three").get(IDENTITY)
    assert found.provenance == {"by": "one"}
    assert found.predictions.logits.tolist() == PREDICTIONS.logits.tolist()


def test_a_record_that_was_shared_under_the_local_names_is_found(machine, address):
    key = machine("one").put(IDENTITY, PREDICTIONS, {}).key
    files, data = shared_data(address, key)
    files.mv(data, f"{data.rpartition('/')[0]}/predictions.safetensors")
    assert machine("two").get(IDENTITY) is not None


@pytest.fixture
def unreachable(monkeypatch, address):
    """Let nothing be written at the address until the context ends."""

    @contextlib.contextmanager
    def refusing():
        def refuse(*_, **__):
            raise OSError("connection reset")

        with monkeypatch.context() as patched:
            patched.setattr(type(fsspec.core.url_to_fs(address)[0]), "pipe_file", refuse)
            yield

    return refusing


def test_a_record_that_could_not_be_shared_is_shared_when_it_is_used_again(machine, unreachable):
    with unreachable():
        with pytest.raises(StoreError, match="connection reset"):
            machine("one").put(IDENTITY, PREDICTIONS, {"by": "one"})
        with pytest.raises(StoreError, match="it is kept in"):
            machine("one").get(IDENTITY)
    assert machine("two").get(IDENTITY) is None
    assert machine("one").get(IDENTITY) is not None
    assert machine("two").get(IDENTITY).provenance == {"by": "one"}


def test_a_record_that_was_shared_is_read_without_the_address(machine, unreachable):
    machine("one").put(IDENTITY, PREDICTIONS, {})
    assert machine("two").get(IDENTITY) is not None
    with unreachable():
        assert machine("one").get(IDENTITY) is not None
        assert machine("two").get(IDENTITY) is not None


def test_an_unknown_protocol_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    with pytest.raises(StoreError, match="carrier-pigeon"):
        Store.at("carrier-pigeon://bucket").get(IDENTITY)


def test_a_plain_path_has_no_remote(tmp_path):
    store = Store.at(str(tmp_path / "here"))
    assert (store.root, store.remote) == (tmp_path / "here", None)


def test_a_record_that_many_threads_miss_at_once_is_fetched_once(machine, monkeypatch):
    machine("one").put(IDENTITY, PREDICTIONS, {})
    store = machine("two")
    key = key_of(IDENTITY)
    whole, fetched = type(store.remote._files).cat_file, []
    both = threading.Barrier(2)

    def slow(files, path, *args, **kwargs):
        fetched.append(path)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)  # until the other thread fetches as well, if it does
        return whole(files, path, *args, **kwargs)

    monkeypatch.setattr(type(store.remote._files), "cat_file", slow)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: store.remote.fetch(key, store.folder(key)), range(2)))
    assert found == [True, True]
    assert len(fetched) == 2  # manifest and data


def test_a_record_that_is_being_fetched_is_not_deleted(machine, monkeypatch):
    machine("one").put(IDENTITY, PREDICTIONS, {})
    store = machine("two")
    whole = type(store.remote._files).cat_file

    def slow(files, path, *args, **kwargs):
        assert collect(store, max_bytes=0) == []
        return whole(files, path, *args, **kwargs)

    monkeypatch.setattr(type(store.remote._files), "cat_file", slow)
    assert store.get(IDENTITY) is not None
