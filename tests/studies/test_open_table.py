"""The table of precisions on open questions: what the top answer gives, and nothing invented."""

import json
import sys

import numpy as np
import pytest

from calbench import cli, models, tasks
from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.runs import PROFILES, Cell, Grid, Runner, Selection
from calbench.store import Store
from calbench.studies import Sensitivity
from calbench.tasks import Generation, OpenQuestion

pytest.importorskip("torch", reason="models need torch")

KNOWN = tuple(f"w{i}" for i in range(0, 60, 2))


def questions(n=120):
    rng = np.random.default_rng(3)
    return [
        OpenQuestion(f"q{i:03}", " ".join(f"w{k}" for k in rng.integers(60, size=9)), KNOWN) for i in range(n)
    ]


@pytest.fixture(scope="module", autouse=True)
def known(tiny_encoder, tiny_decoder):
    """Make two tiny models and a task known by name."""
    if "open-writer" in models.names():
        return
    models.model("open-writer")(
        lambda: ModelSource("open-writer", "causal-lm", str(tiny_decoder), max_length=120)
    )
    models.model("open-judge")(
        lambda: ModelSource("open-judge", "sequence-classification", str(tiny_encoder), classes=("no", "yes"))
    )
    tasks.task("open-words")(
        lambda: Generation(
            "open-words", questions, "Text: {question} Sentiment:", max_new_tokens=1, n_quantization=20
        )
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def run(store, capsys, monkeypatch):
    def run(*options, model="open-writer"):
        arguments = ["run", "--models", model, "--tasks", "open-words", "--store", store, *options]
        monkeypatch.setattr(sys, "argv", ["calbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def test_what_the_top_answer_cannot_give_is_blank_and_explained(run):
    code, out, _ = run("--quantizers", "bnb-nf4", "--calibrators", "temperature,isotonic")
    assert code == 0
    header, _, _, row = (line.split("|") for line in out.splitlines()[2:6])
    shown = {name.strip(): value.strip() for name, value in zip(header, row, strict=True)}
    assert (shown["Δlogit"], shown["KL"]) == ("", "")
    assert shown["flips"].endswith("%")
    assert "| isotonic" in out
    assert "| temperature" not in out
    assert "calibrators that need the logit of every class are left out" in out


def test_flips_are_answers_whose_words_differ(run, store):
    code, out, _ = run("--quantizers", "bnb-nf4", "--json")
    reference, nf4 = json.loads(out)
    assert code == 0
    assert (nf4["logit_change"], nf4["kl_divergence"]) == (None, None)
    assert reference["flip_rate"] == 0 < nf4["flip_rate"] < 1
    assert nf4["chance"] == 1.0  # every question accepts the same answers


def test_an_encoder_is_refused(run):
    code, _, err = run("--quantizers", "bf16", model="open-judge")
    assert code == 2
    assert "refused: open-judge × bf16, fp32 on open-words: task 'open-words' wants answers in words" in err


def test_a_replay_and_a_listing_need_no_model(run, store, capsys, monkeypatch):
    run("--quantizers", "fp32")
    monkeypatch.setattr(ModelSource, "load", lambda *_: pytest.fail("weights were read"))
    assert run("--quantizers", "fp32", "--replay")[0] == 0
    for command in ("ls", "verify"):
        monkeypatch.setattr(sys, "argv", ["calbench", "store", command, "--store", store])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 0
    out, _ = capsys.readouterr()
    assert "open-words" in out
    assert "0 damaged" in out


def test_a_grid_leaves_out_what_cannot_be_fitted_unless_it_is_named():
    grid, profile = Grid(), PROFILES["quick"]
    asked = Selection(models=("open-writer",), tasks=("open-words",), quantizers=("fp32",))
    found = {cell.calibrator for cell in grid.cells(asked, profile)}
    assert {"identity", "isotonic", "platt", "beta", "histogram", "scaling_binning"} <= found
    assert "temperature" not in found
    named = Selection(asked.models, asked.tasks, asked.quantizers, ("temperature",))
    assert [cell.calibrator for cell in grid.cells(named, profile)] == ["temperature"]


def test_layers_cannot_be_ranked_by_a_divergence_that_is_not_there(tmp_path):
    runner = Runner(Store(tmp_path), PROFILES["quick"])
    with pytest.raises(InputError, match="the questions of 'open-words' are open"):
        Sensitivity(runner, "open-writer", "bnb-nf4", "open-words")


def test_a_record_without_class_vectors_says_so(store):
    runner = Runner(Store.at(store), PROFILES["default"])
    record = runner.transfer(Cell("open-writer", "open-words", "fp32", "identity"), seed=42).reference
    with pytest.raises(InputError, match="holds the top answer's confidence only"):
        _ = record.class_vectors


def test_the_models_own_end_tokens_are_part_of_a_records_identity(tmp_path, monkeypatch):
    def requested(end_tokens):
        monkeypatch.setattr(ModelSource, "end_tokens", end_tokens)
        runner = Runner(Store(tmp_path), PROFILES["quick"])
        return runner.identity("open-writer", "fp32", "open-words")["task"]["request"]

    assert "end_tokens" not in requested(())
    assert requested((2,))["end_tokens"] == [2]
    assert requested((2, 3))["end_tokens"] == [2, 3]


def test_a_task_that_sets_no_quantization_samples_aside_is_run(run):
    tasks.task("open-unread")(
        lambda: Generation(
            "open-unread", questions, "Text: {question} Sentiment:", max_new_tokens=1, n_quantization=0
        )
    )
    code, out, err = run("--quantizers", "bnb-nf4", "--calibrators", "isotonic", "--tasks", "open-unread")
    assert code == 0, err
    assert "isotonic" in out
