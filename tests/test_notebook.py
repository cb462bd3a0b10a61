"""The notebook in examples/ runs, and shows what it shows."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "scripts" / "run_notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_runs_and_its_outputs_are_kept(script):
    pytest.importorskip("matplotlib")
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    found = script.executed(kept, folder=NOTEBOOK.parent)
    stale = "run scripts/run_notebook.py examples/quickstart.ipynb"
    assert script.texts(found) == script.texts(kept), stale
    pictures = [
        o for cell in found["cells"] for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})
    ]
    assert len(pictures) == 2


def test_a_notebook_whose_numbers_moved_is_noticed(script, monkeypatch, tmp_path):
    cell = {"cell_type": "code", "source": ["1 + 1"], "outputs": []}
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": [cell]}))
    monkeypatch.setattr("sys.argv", ["run_notebook", str(path), "--check"])
    with pytest.raises(SystemExit, match="outputs are stale"):
        script.main()
    monkeypatch.setattr("sys.argv", ["run_notebook", str(path)])
    script.main()
    assert json.loads(path.read_text())["cells"][0]["outputs"][0]["data"]["text/plain"] == ["2"]
