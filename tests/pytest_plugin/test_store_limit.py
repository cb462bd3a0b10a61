"""A store that is held to a size: at the end of a run, and never at the cost of what the run used."""

from __future__ import annotations

import os

import pytest

from calbench.records import Predictions
from calbench.store import Store, listed


@pytest.fixture
def private(pytester):
    """A store with one old record of something else."""
    store = Store(pytester.path / "private")
    record = store.put({"old": 1}, Predictions(["a"], [[0.0, 1.0]], [0], {"model": "old"}), {})
    folder = store.folder(record.key)
    for place in (folder, *folder.iterdir()):
        os.utime(place, (1000, 1000))
    return store


def test_what_the_run_did_not_use_goes_at_its_end(project, private, workers, monkeypatch):
    monkeypatch.setenv("CALBENCH_STORE_MAX_SIZE", "1B")
    options = (f"--calbench-store={private.root}", "-k", "coin-fp32", "--calbench-report=report")
    result = project(*options, *workers)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["the store * is held to 0.0 MB ($CALBENCH_STORE_MAX_SIZE): 1 least*"])
    assert [record.model for record in listed(private)] == ["tiny"]


def test_a_limit_that_cannot_be_read_stops_the_run_before_it_begins(project, monkeypatch):
    monkeypatch.setenv("CALBENCH_STORE_MAX_SIZE", "much")
    result = project()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*cannot read the size 'much'*"])
