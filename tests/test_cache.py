"""A folder appears and goes in one step, whoever else is at it."""

from __future__ import annotations

import shutil

from calbench.cache import discard, publishing


def publish(folder, text):
    with publishing(folder) as temporary:
        (temporary / "file").write_text(text)


def test_a_folder_that_is_published_again_is_replaced(tmp_path):
    for text in ("one", "two"):
        publish(tmp_path / "a", text)
    assert (tmp_path / "a" / "file").read_text() == "two"
    assert [place.name for place in tmp_path.iterdir()] == ["a"]


def test_two_may_publish_one_folder_at_once(tmp_path, monkeypatch):
    publish(tmp_path / "a", "old")
    whole, others = shutil.rmtree, ["other"]

    def slow(folder, **options):
        whole(folder, **options)
        if others:  # another process is done just before this one
            publish(tmp_path / "a", others.pop())

    monkeypatch.setattr(shutil, "rmtree", slow)
    publish(tmp_path / "a", "this")
    assert (tmp_path / "a" / "file").read_text() == "this"
    assert [place.name for place in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_another_process_deleted_is_gone(tmp_path):
    discard(tmp_path / "a")
    assert not (tmp_path / "a").exists()
