"""What is in a store, whether it is intact, and making room."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from calbench import cli
from calbench.cache import replacing
from calbench.errors import InputError
from calbench.records import Predictions
from calbench.store import (
    Store,
    collect,
    entries,
    find,
    keep_limit,
    key_of,
    listed,
    parse_size,
    size_limit,
    verify,
)

NOW = datetime.now(timezone.utc)
NAMES = {"model": "m", "quantizer": "q", "task": "t"}
PREDICTIONS = Predictions(["a", "b"], [[0.0, 1.0], [2.0, 0.5]], [0, 1], NAMES)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    for i in range(3):
        folder = made.folder(made.put({"i": i}, PREDICTIONS, {}).key)
        for place in (folder, *folder.iterdir()):
            os.utime(place, (1000 + i, 1000 + i))
    return made


def record_folders(store):
    return [entry.folder for entry in entries(store) if entry.kind == "record"]


def test_records_are_listed_oldest_first_with_their_names(store):
    found = listed(store)
    assert [one.key for one in found] == [folder.name for folder in record_folders(store)]
    assert {(one.model, one.quantizer, one.task, one.n_items) for one in found} == {("m", "q", "t", 2)}


def test_a_flipped_byte_in_any_place_of_a_record_is_detected(store):
    folder = record_folders(store)[1]
    for path in folder.iterdir():
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            path.write_bytes(bytes(damaged))
            bad = [entry.folder for entry, problem in verify(Store(store.root)) if problem]
            # a space of the JSON's layout may change without changing what it says
            same = path.suffix == ".json" and _says_the_same(bytes(damaged), whole)
            assert bad == ([] if same else [folder]), (path.name, place)
        path.write_bytes(whole)


def _says_the_same(damaged, whole):
    try:
        return json.loads(damaged) == json.loads(whole)
    except ValueError:
        return False


def test_a_damaged_record_is_recomputed_where_that_is_asked_for(store):
    folder = record_folders(store)[0]
    (folder / "predictions.safetensors").write_bytes(b"")
    lenient = Store(store.root, on_corrupt="recompute")
    assert lenient.get({"i": 0}) is None
    assert [entry.kind for entry in entries(store)].count("leftovers") == 1
    lenient.put({"i": 0}, PREDICTIONS, {})
    assert Store(store.root).get({"i": 0}) is not None


def test_a_listing_survives_a_damaged_record(store):
    (record_folders(store)[0] / "record.json").write_text("{")
    assert [bool(one.problem) for one in listed(store)].count(True) == 1


def test_leftovers_go_and_records_stay_without_a_limit(store):
    leftover = store.root / "records" / "ab" / ".abc-killed"
    leftover.mkdir(parents=True)
    (leftover / "predictions.safetensors").write_bytes(b"partial")
    assert collect(store, max_bytes=10**9) == []  # it may be in use
    for place in (leftover / "predictions.safetensors", leftover):
        os.utime(place, (1000, 1000))
    assert [entry.folder for entry in collect(store)] == [leftover]
    assert not leftover.exists()
    assert len(record_folders(store)) == 3


def test_deleting_that_is_killed_leaves_no_half_record(store, monkeypatch):
    def killed(folder):
        next(folder.iterdir()).unlink()
        raise SystemExit

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(SystemExit):
        collect(store, max_bytes=0)
    assert Store(store.root).get({"i": 0}) is None
    assert Store(store.root).get({"i": 1}) is not None


def test_a_record_that_goes_while_all_are_verified_is_not_damaged(store):
    found = verify(store)
    next(found)
    collect(store, max_bytes=0)
    assert list(found) == []


def test_a_limit_takes_unfinished_shards_first_and_then_the_oldest(store):
    store.shards({"unfinished": 1}).put("00000-a", np.zeros((2, 2), dtype=np.float32))
    folders = record_folders(store)
    size = max(entry.size_bytes for entry in entries(store))
    deleted = collect(store, max_bytes=2 * size)
    assert [entry.kind for entry in deleted] == ["shards", "record"]
    assert record_folders(store) == folders[1:]


def test_a_limit_takes_what_was_not_read_for_longest(store):
    first, *rest = record_folders(store)
    written = entries(store)[0].written
    assert Store(store.root).get({"i": 0}) is not None
    assert entries(store)[0].written == written
    assert [entry.folder for entry in collect(store, max_bytes=_size(first))] == rest


def _size(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


class TestLimit:
    @pytest.fixture
    def limit(self, monkeypatch):
        return lambda text: monkeypatch.setenv("CALBENCH_STORE_MAX_SIZE", text)

    def test_without_one_nothing_goes(self, store, monkeypatch):
        monkeypatch.delenv("CALBENCH_STORE_MAX_SIZE", raising=False)
        assert keep_limit(store, used_since=NOW) == ""
        assert len(record_folders(store)) == 3

    def test_what_a_run_did_not_use_goes_and_is_said(self, store, limit):
        limit("1B")
        kept = record_folders(store)[1]
        assert Store(store.root).get({"i": 1}) is not None
        note = keep_limit(store, used_since=NOW)
        assert "2 least recently used parts deleted" in note
        assert "are kept beyond the limit: this run used them" in note
        assert record_folders(store) == [kept]

    def test_a_store_within_its_limit_is_not_mentioned(self, store, limit):
        limit("1GB")
        assert keep_limit(store, used_since=NOW) == ""

    def test_a_store_that_another_process_uses_is_left_alone(self, store, limit):
        limit("1B")
        with store.computing():
            assert "in use by another process" in keep_limit(store, used_since=NOW)
        assert len(record_folders(store)) == 3

    def test_a_store_that_another_machine_uses_is_left_alone(self, store, limit, monkeypatch):
        limit("1B")
        monkeypatch.setattr("platform.node", lambda: "one")
        with store.computing():
            monkeypatch.setattr("platform.node", lambda: "two")
            assert "in use by another process" in keep_limit(store, used_since=NOW)
        assert len(record_folders(store)) == 3
        assert "3 least recently used parts deleted" in keep_limit(store, used_since=NOW)

    def test_one_that_cannot_be_read_is_refused(self, limit):
        limit("much")
        with pytest.raises(InputError, match="cannot read the size 'much'"):
            size_limit()


@pytest.mark.parametrize(
    ("place", "kind"), [("adapters/a", "adapter"), ("merged/m", "merged"), ("checkpoints/c", "checkpoint")]
)
def test_a_limit_takes_what_is_kept_beside_records(store, place, kind):
    folder = store.root / place
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes(10_000))
    assert kind in {entry.kind for entry in entries(store)}
    assert folder in [entry.folder for entry in collect(store, max_bytes=0)]
    assert not folder.exists()


def test_a_memo_that_was_deleted_to_make_room_is_made_again(store):
    assert store.remember({"m": 1}, lambda: 2) == 2
    assert {entry.kind for entry in collect(store, max_bytes=0)} == {"record", "memos"}
    assert store.remember({"m": 1}, lambda: 3) == 3


def test_a_memo_that_is_being_written_is_not_deleted(store):
    def make():
        store.remember({"m": 1}, lambda: 2)
        with replacing(store.root / "memos" / "other.json") as temporary:
            temporary.write_text("{}")
            assert [entry.kind for entry in collect(store, max_bytes=0)].count("memos") == 1
        return 3

    assert store.remember({"m": 3}, make) == 3
    assert {file.name for file in (store.root / "memos").iterdir()} == {
        "other.json",
        f"{key_of({'m': 3})}.json",
    }


def test_a_memo_that_goes_while_memos_are_deleted_is_no_error(store, monkeypatch):
    for number in range(3):
        store.remember({"m": number}, list)
    whole = Path.unlink

    def other_first(path, **options):
        whole(path)
        whole(path, **options)

    monkeypatch.setattr(Path, "unlink", other_first)
    collect(store, max_bytes=0)
    assert list((store.root / "memos").iterdir()) == []


def test_a_finished_record_leaves_no_shards(store):
    store.shards({"i": 9}).put("00000-a", np.zeros((2, 2), dtype=np.float32))
    store.put({"i": 9}, PREDICTIONS, {})
    assert [entry.kind for entry in entries(store)] == ["record"] * 4


@pytest.mark.parametrize(("text", "size"), [("10", 10), ("2 kb", 2000), ("1.5GB", 1_500_000_000)])
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "many", "1 GiB", "-1MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="cannot read the size"):
        parse_size(text)


class TestCommands:
    @pytest.fixture
    def run(self, store, monkeypatch, capsys):
        def run(command, *arguments):
            options = [command, "--store", str(store.root), *arguments]
            monkeypatch.setattr(sys, "argv", ["calbench", "store", *options])
            with pytest.raises(SystemExit) as caught:
                cli.main()
            return caught.value.code, capsys.readouterr().out

        return run

    def test_ls_lists(self, run):
        shown = json.loads(run("ls", "--json")[1])
        assert [row["model"] for row in shown["records"]] == ["m"] * 3
        assert "record: " in run("ls")[1]

    def test_verify_fails_on_damage(self, run, store):
        assert run("verify")[0] == 0
        (record_folders(store)[0] / "predictions.safetensors").write_bytes(b"")
        status, shown = run("verify")
        assert status == 1
        assert "does not match its checksum" in shown

    def test_gc_makes_room(self, run, store):
        assert len(json.loads(run("gc", "--max-size", "0", "--json")[1])["deleted"]) == 3
        assert record_folders(store) == []


def test_a_name_in_a_store_without_records_is_told_where_was_looked(tmp_path):
    with pytest.raises(InputError, match=r"no stored record is called 'm::t::q': there is none in .*empty"):
        find(Store(tmp_path / "empty"), "m::t::q")
