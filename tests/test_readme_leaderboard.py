"""The leaderboard in README.md is that of the last run, and a stale one is noticed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("update_readme", ROOT / "scripts" / "update_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("README", "KEPT"):
        copy = tmp_path / getattr(module, name).name
        copy.write_text((ROOT / getattr(module, name)).read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(module, name, copy)
    return module


def test_a_changed_line_is_noticed(script):
    script.README.write_text(script.README.read_text().replace("| minilm ", "| maxilm ", 1))
    assert any("is not that of" in problem for problem in script.problems())


def test_lost_markers_are_noticed(script):
    script.README.write_text(script.README.read_text().replace("<!-- /table -->", ""))
    assert any("has lost the comments" in problem for problem in script.problems())


def test_another_definition_is_noticed(script, monkeypatch):
    monkeypatch.setattr("calbench.metrics.Metric.fingerprint", {"metric": "other"})
    assert any("computed in another way" in problem for problem in script.problems())


def test_cells_that_were_added_to_the_default_run_are_noticed(script, monkeypatch):
    monkeypatch.setattr("calbench.runs._cells.DEFAULT_QUANTIZERS", ("fp32", "bf16"))
    assert any("lacks" in problem and "bf16" in problem for problem in script.problems())
