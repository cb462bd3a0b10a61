"""One model, task or package that is broken ends its own cells, and no other's."""

from __future__ import annotations

import json
import sys

import pytest

from calbench import cli, models, quantizers, tasks
from calbench.configuration import Table
from calbench.errors import CalbenchError
from calbench.models import ModelSource, _configured
from calbench.tasks import Item, SequenceClassification

pytest.importorskip("torch", reason="models need torch")


@pytest.fixture
def rows(tiny_encoder, tmp_path, capsys, monkeypatch):
    """Run ``calbench run`` on all models of these tests: rows by model and quantizer, and the messages."""
    texts = [Item(f"i{i:02}", f"w{i % 60} w{i % 7} w{i % 11}", i % 2) for i in range(60)]
    tasks.task("contained-coin")(
        lambda: SequenceClassification("contained-coin", ("no", "yes"), lambda: texts, n_quantization=8)
    )
    source = ModelSource(
        "contained-good", "sequence-classification", str(tiny_encoder), classes=("no", "yes")
    )
    models.model("contained-good")(lambda: source)

    def run(*options):
        given = ["calbench", "run", "--models", "contained-*", "--tasks", "contained-coin", "--json"]
        monkeypatch.setattr(sys, "argv", [*given, "--store", str(tmp_path / "store"), *options])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code, {(row["model"], row["quantizer"]): row for row in json.loads(out)}, err

    return run


def raises(error):
    def declaration():
        raise error

    return declaration


def test_a_declaration_that_raises_ends_its_own_cells(rows):
    models.model("contained-bad")(raises(TypeError("a list, a text")))
    code, found, err = rows("--quantizers", "fp32")
    assert code == 2
    assert "accuracy" in found["contained-good", "fp32"]
    reason = "the declaration of model 'contained-bad': TypeError: a list, a text"
    assert reason in found["contained-bad", "fp32"]["reason"]
    assert reason in " ".join(err.split())


def test_a_table_that_is_wrong_ends_its_own_cells(rows, tmp_path):
    _configured._register(Table(tmp_path / "calbench.toml", ("models", "contained-typo"), {"locatoin": "."}))
    code, found, _ = rows("--quantizers", "fp32")
    assert code == 2
    assert "accuracy" in found["contained-good", "fp32"]
    assert "has no key 'locatoin'; did you mean 'location'?" in found["contained-typo", "fp32"]["reason"]


def test_a_folder_that_is_no_model_ends_its_own_cells(rows, tmp_path):
    (tmp_path / "config.json").write_text("{")
    broken = ModelSource("contained-empty", "sequence-classification", str(tmp_path), classes=("no", "yes"))
    models.model("contained-empty")(lambda: broken)
    code, found, _ = rows("--quantizers", "fp32,bf16")
    assert code == 2
    assert all("accuracy" in found["contained-good", quantizer] for quantizer in ("fp32", "bf16"))
    assert found["contained-empty", "bf16"]["reason"]


def test_what_a_backend_raises_while_building_ends_its_own_cell(rows, monkeypatch):
    kind = type(quantizers.get("bnb-nf4"))
    monkeypatch.setattr(kind, "build", lambda *_, **__: raises(RuntimeError("mat1 and mat2"))())
    code, found, _ = rows("--quantizers", "fp32,bnb-nf4")
    assert code == 2
    assert "accuracy" in found["contained-good", "fp32"]
    assert "RuntimeError: mat1 and mat2" in found["contained-good", "bnb-nf4"]["reason"]


def test_what_a_model_raises_while_it_is_asked_ends_its_own_cell(rows, monkeypatch):
    from calbench.runtimes import TorchRuntime

    own = TorchRuntime.score

    def score(self, *given, **options):
        if self.module.dtype.itemsize == 2:
            raise IndexError("index out of range in self")
        return own(self, *given, **options)

    monkeypatch.setattr(TorchRuntime, "score", score)
    code, found, _ = rows("--quantizers", "fp32,bf16")
    assert code == 2
    assert "accuracy" in found["contained-good", "fp32"]
    assert "IndexError: index out of range in self" in found["contained-good", "bf16"]["reason"]


def test_who_asks_for_the_broken_one_alone_is_told_how():
    models.model("contained-bad")(raises(TypeError("a list, a text")))
    with pytest.raises(CalbenchError, match="the declaration of model 'contained-bad': TypeError"):
        models.get("contained-bad")
