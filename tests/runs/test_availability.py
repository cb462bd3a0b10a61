"""What cannot be had, or does not go together, is told apart from what is wrong, and skipped by a run."""

import re
import sys
from functools import partial

import pytest

from calbench import cli, models, tasks
from calbench.errors import InputError, SetupRequiredError
from calbench.models import ModelSource
from calbench.runs import Availability, Cell, Selection, grid_of
from calbench.tasks import Item, MultipleChoice, Question, SequenceClassification
from calbench.tasks._data import DataSource

pytest.importorskip("torch", reason="models need torch")

TWO = ("no", "yes")


def items():
    return [Item(f"i{i:03}", f"w{i % 60} w{i // 2}", i % 2) for i in range(90)]


def broken():
    raise InputError("x.jsonl:3: column 'a' is missing")


@pytest.fixture(autouse=True)
def known(tiny_encoder, tmp_path, monkeypatch):
    """Make models and tasks that are here, and some that are not, known by name for this test only."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    encoder = partial(ModelSource, architecture="sequence-classification", classes=TWO)
    sources = {
        "ob-near": encoder("ob-near", location=str(tiny_encoder), default_tasks=("ob-coin",)),
        "ob-far": encoder("ob-far", location="nobody/far", default_tasks=("ob-coin",)),
        "ob-unmade": encoder("ob-unmade", location=str(tmp_path / "none"), from_setup=True),
    }
    texts = partial(SequenceClassification, classes=TWO, n_quantization=10)
    asked = {
        "ob-coin": texts("ob-coin", load=items),
        "ob-away": texts("ob-away", load=lambda: DataSource("nobody/data", "*").rows),
        "ob-broken": texts("ob-broken", load=broken),
        "ob-options": MultipleChoice("ob-options", lambda: [Question("q", "?", TWO, 0)]),
    }
    for module, registered in ((models, sources), (tasks, asked)):
        monkeypatch.setattr(module, "get", registered.__getitem__)
        monkeypatch.setattr(module, "names", lambda names=tuple(registered): names)


@pytest.mark.parametrize(
    ("model", "task", "what", "axes"),
    [
        ("ob-far", "ob-coin", "ob-far", ("models",)),
        ("ob-near", "ob-away", "ob-away", ("tasks",)),
        ("ob-near", "ob-options", "ob-near on ob-options", ("models", "tasks")),
    ],
)
def test_an_obstacle_names_what_is_in_the_way(model, task, what, axes):
    found = Availability().between(model, task)
    assert (found.what, found.axes) == (what, axes)


@pytest.mark.parametrize(
    ("model", "task"), [("ob-near", "ob-coin"), ("ob-near", "ob-broken"), ("ob-unmade", "ob-coin")]
)
def test_what_is_here_or_wrong_is_no_obstacle(model, task):
    assert Availability().between(model, task) is None


@pytest.mark.parametrize(
    ("chosen", "task", "is_excused"),
    [
        ({"models": ("ob-near",), "tasks": ("ob-*",)}, "ob-away", True),
        ({"models": ("ob-near",), "tasks": ("all",)}, "ob-options", True),
        ({"models": ("ob-n*",), "tasks": ("ob-options",)}, "ob-options", True),
        ({"tasks": ("ob-options",)}, "ob-options", True),  # of the default models, which nobody named
        ({"models": ("ob-near",), "tasks": ("ob-*", "ob-away")}, "ob-away", False),
        ({"models": ("ob-*",), "tasks": ("ob-away",)}, "ob-away", False),
        ({"models": ("ob-near",), "tasks": ("ob-options",)}, "ob-options", False),
        ({"models": ("ob-near",)}, "ob-away", False),  # one of the model's own tasks
    ],
)
def test_what_its_id_names_is_not_excused(chosen, task, is_excused):
    found = Availability().excused(Cell("ob-near", task, "fp32", "identity"), grid_of(), Selection(**chosen))
    assert (found is not None) is is_excused


def test_a_hub_is_asked_once_for_each_model_and_data_set(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    looked = []

    def look(hub_id, **_):
        looked.append(hub_id)
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", look)
    obstacles = Availability()
    for pair in (("ob-far", "ob-coin"), ("ob-far", "ob-away"), *[("ob-near", "ob-away")] * 2):
        assert obstacles.between(*pair) is not None
    assert looked == ["nobody/far", "nobody/data"]


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    def run(*options):
        arguments = ["run", "--quantizers", "bf16", "--store", str(tmp_path / "store"), *options]
        monkeypatch.setattr(sys, "argv", ["calbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def test_a_run_skips_what_patterns_picked_and_cannot_be_had(run):
    code, out, err = run("--models", "ob-near,ob-fa*", "--tasks", "ob-coin,ob-[ao]*")
    assert code == 0, err
    assert "### ob-near on ob-coin" in out
    assert re.search(r"ob-near on ob-coin: \S+ items; \S+ fit calibrators, \S+ are scored", err)
    assert "skipped: ob-far × bf16 on ob-coin, ob-away, ob-options: 'nobody/far' is not in the hub" in err
    assert "skipped: ob-near × bf16 on ob-away: the data set 'nobody/data' is not in the hub" in err
    assert "skipped: ob-near × bf16 on ob-options: task 'ob-options' is multiple choice" in err


def test_a_run_refuses_what_is_named_and_cannot_be_had(run):
    code, _, err = run("--models", "ob-near", "--tasks", "ob-away")
    assert code == 2
    assert "refused: ob-near × bf16, fp32 on ob-away: the data set 'nobody/data' is not in the hub" in err
    code, _, err = run("--models", "ob-far", "--tasks", "ob-coin")
    assert code == 2
    assert "'nobody/far' is not in the hub's cache" in err


def test_terms_that_were_not_accepted_are_named(monkeypatch):
    from types import SimpleNamespace

    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_, **__):
        raise GatedRepoError("403", response=SimpleNamespace(headers={}, request=None))

    def gated(*_, **__):
        raise DatasetNotFoundError("Dataset 'nobody/data' is a gated dataset on the Hub.")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("datasets.load_dataset_builder", gated)
    with pytest.raises(SetupRequiredError, match="'nobody/far' only to those who accepted its terms"):
        models.get("ob-far").fetch()
    with pytest.raises(SetupRequiredError, match="'nobody/data' only to those who accepted its terms"):
        tasks.get("ob-away").load()
