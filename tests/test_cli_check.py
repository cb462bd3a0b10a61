"""One command from a team's own model and file to a verdict, and to a suite that asks for ever."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from calbench import Predictions, compare, models, tasks
from calbench.cli import main
from calbench.errors import InputError
from calbench.studies import Compressed, recommended
from calbench.tasks._own_data import mapped

N = 900


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    for registry, module in ((models.registry, "models"), (tasks.registry, "tasks")):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(f"calbench.{module}._named._OPEN", {})


@pytest.fixture
def team(tiny_encoder, tmp_path, monkeypatch):
    """A folder with a classifier of tickets and a file whose labels it mostly gets right."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(tiny_encoder, tmp_path / "my-bert")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "billing", "1": "other"}, "label2id": {"billing": 0, "other": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(60, size=6)) for _ in range(N)]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        probs = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.softmax(1)[:, 1].numpy()
    labels = np.where(rng.random(N) < probs, "Other", "billing ")  # calibrated by construction
    with (tmp_path / "tickets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "body", "category"], *zip(range(N), texts, labels, strict=True)])
    return tmp_path


def run(capsys, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["calbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
    out, err = capsys.readouterr()
    return caught.value.code, out, err


CHECK = ("check", "./my-bert", "tickets.csv", "--text", "body", "--label", "category", "--store", "store")
WIDE = ("--max-increase", "ece=0.1", "--max-increase", "brier=0.1", "--max-increase", "accuracy=0.1")


def suite(folder, *paths):
    store = os.path.relpath("store", folder)
    command = [sys.executable, "-m", "pytest", "-q", f"--calbench-store={store}", *paths]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*map(str, sys.path)]))}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_a_check_judges_and_leaves_a_suite_that_notices_spoilt_weights(team, capsys):
    import torch
    from safetensors.torch import load_file, save_file

    (team / ".git").mkdir()
    code, out, err = run(capsys, *CHECK, "--quantizers", "bnb-int8", *WIDE, "--write-suite", "ci")
    assert (code, "kept: bnb-int8" in out, f"{N:,} rows: {N:,} asked" in err) == (0, True, True), err
    assert "accuracy by confidence" in out
    assert "report/" in (team / "ci" / ".gitignore").read_text().split()
    workflow = (team / ".github" / "workflows" / "calibration-ci.yml").read_text()
    (folder,) = re.findall("folder: (.+)", workflow)
    green = suite(team / folder, "suites")  # as the workflow runs it
    assert green.returncode == 0, green.stdout + green.stderr
    weights = team / "my-bert" / "model.safetensors"
    spoilt = load_file(weights)
    spoilt["classifier.weight"] = -spoilt["classifier.weight"]
    save_file(spoilt, weights, metadata={"format": "pt"})
    with torch.no_grad():
        red = suite(team / "ci")
    assert red.returncode == 1
    assert "test_nothing_is_worse_than_what_was_accepted" in red.stdout


def test_a_suite_that_is_there_is_refused_before_a_model_is_asked(team, capsys):
    (team / "ci").mkdir()
    (team / "ci" / "pytest.ini").write_text("[pytest]\n")
    code, out, err = run(capsys, *CHECK, "--write-suite", "ci")
    assert (code, out) == (2, "")
    assert "ci: pytest.ini would be overwritten; delete them" in " ".join(err.split())


def test_what_git_lfs_left_in_the_place_of_weights_is_named(team, capsys):
    note = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (team / "my-bert" / "model.safetensors").write_text(note)
    code, _, err = run(capsys, *CHECK)
    assert (code, "model.safetensors: is what Git LFS leaves in the place" in " ".join(err.split())) == (
        2,
        True,
    )


def test_a_label_that_no_output_has_is_shown_with_its_row(team, capsys):
    table = (team / "tickets.csv").read_text().rstrip("\n")
    (team / "tickets.csv").write_text(f"{table}\n1,odd,strange\n")
    code, _, err = run(capsys, *CHECK)
    assert (code, "'strange' first in row 901" in " ".join(err.split())) == (2, True)


def test_a_check_of_lost_calibration_exits_with_1(team, capsys):
    code, out, _ = run(
        capsys, *CHECK, "--quantizers", "bnb-int8", "--max-increase", "ece=-0.3", "--calibrator", "identity"
    )
    assert (code, "LOST: bnb-int8" in out) == (1, True)


def test_a_build_that_tells_no_size_has_no_column_for_it_and_what_is_open_a_remedy(capsys):
    from calbench.cli._compression import reasons, show

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    comparison = compare(*(Predictions(range(200), x * logits, labels) for x in (1, 1.001)), n_resamples=50)
    served = Compressed("q4_0", comparison, (comparison.decide("ece", max_increase=1e-9),))
    show([served], [])
    assert "bits" not in capsys.readouterr().out
    show([replace(served, effective_bits=4.5)], [])
    assert "bits" in capsys.readouterr().out
    assert reasons(served)[0].endswith("; no number of items in reach; choose another limit")


def test_a_recommendation_names_the_smallest_that_keeps(team, capsys):
    data = "tickets.csv[label=category,text=body,classes=billing+other]"
    (team / "tickets.csv").write_text(
        (team / "tickets.csv").read_text().replace("billing ", "billing").replace("Other", "other")
    )
    arguments = ("recommend", "./my-bert", data, "--quantizers", "bnb-int8,bf16", "--store", "store", *WIDE)
    code, out, _ = run(capsys, *arguments, "--profile", "full")
    assert code == 0
    assert "recommended: bnb-int8" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "kind"), "no column 'kind'; there are 'id', 'body', 'category'. Write --label COLUMN"),
        (("--classes", "a,b,c"), "3 classes are named"),
        (("--classes", "x,y"), "which is which"),
        (("--max-increase", "ece"), "write METRIC=NUMBER"),
        (("--quantizers", "fp32"), "name one more"),
    ],
)
def test_what_cannot_be_told_is_said_in_one_line(team, capsys, arguments, message):
    code, _, err = run(capsys, *CHECK, *arguments)
    assert code == 2
    assert message in " ".join(err.split())


@pytest.fixture
def labels(team):
    """The same classifier with labels that do not exclude each other, and a file with a column for each."""
    config = json.loads((team / "my-bert" / "config.json").read_text())
    config |= {"problem_type": "multi_label_classification", "id2label": {"0": "Rude", "1": "spam"}}
    (team / "my-bert" / "config.json").write_text(json.dumps(config))
    with (team / "tickets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (team / "posts.csv").open("w", newline="") as file:
        drawn = [[row["body"], int(row["category"] == "Other"), "yn"[n % 2]] for n, row in enumerate(rows)]
        csv.writer(file).writerows([["body", "rude", "spam"], *drawn])
    return team


def test_a_label_of_several_is_checked_as_a_task_of_two_classes(labels, capsys):
    check = ("check", "./my-bert", "posts.csv", "--text", "body", "--label", "rude", "--store", "store")
    code, out, err = run(capsys, *check, *WIDE, "--quantizers", "bf16", "--write-suite", "ci")
    assert code == 0, err
    written = (labels / "ci" / "calbench.toml").read_text()
    assert 'output = "Rude"' in written
    assert "multi_label = true" in written
    assert "accuracy" in out


@pytest.mark.parametrize("column", ["spam", "body"])
def test_a_label_that_is_none_of_the_models_is_said_in_one_line(labels, capsys, column):
    check = ("check", "./my-bert", "posts.csv", "--text", "body", "--label", column, "--store", "store")
    code, _, err = run(capsys, *check)
    assert code == 2
    assert "answers yes or no to each of 'Rude', 'spam', and the column" in " ".join(err.split())


def test_a_compressed_model_needs_its_reference(team, capsys):
    (team / "model-q4_0.gguf").write_bytes(b"GGUF")
    code, _, err = run(capsys, "check", "model-q4_0.gguf", "tickets.csv")
    assert (code, "add --reference MODEL" in err) == (2, True)


@pytest.mark.parametrize("command", ["check", "recommend"])
def test_what_no_quantizer_can_do_is_said_before_the_reference_is_asked(command, team, capsys):
    arguments = {
        "check": CHECK,
        "recommend": ("recommend", "./my-bert", "tickets.csv[text=body,label=category]", "--store", "store"),
    }
    rows = (team / "tickets.csv").read_text().replace("billing ", "billing").replace("Other", "other")
    (team / "tickets.csv").write_text(rows)
    code, _, err = run(capsys, *arguments[command], "--quantizers", "fp32[kv=int8]")
    assert (code, "keeps no cache; leave kv out" in " ".join(err.split())) == (2, True), err
    assert "× fp32" not in err


def test_a_candidate_that_cannot_be_read_is_refused_before_the_reference_is_asked(team, capsys):
    (team / "spoilt").mkdir()
    shutil.copy(team / "my-bert" / "config.json", team / "spoilt")
    code, _, err = run(capsys, *CHECK[:1], "./spoilt", *CHECK[2:], "--reference", "./my-bert")
    assert (code, "holds no .safetensors weights" in " ".join(err.split())) == (2, True), err
    assert "× fp32" not in err


def test_a_head_with_more_outputs_than_the_file_has_labels_is_told_a_line_that_works(team):
    with pytest.raises(InputError, match=r"classes=\['x', 'y', 'unused-0'\]"):
        mapped(["x", "y"], ["LABEL_0", "LABEL_1", "LABEL_2"], place="f")
    assert mapped(["x", "y"], ["x", "y", "unused-0"], place="f") == {"x": "x", "y": "y"}


def test_a_file_with_more_labels_than_the_head_has_outputs_is_told_so():
    with pytest.raises(InputError, match="has the 3 labels 'x', 'y', 'z', and the model tells 2 apart"):
        mapped(["x", "y", "z"], ["x", "y"], place="f")


def test_labels_meet_outputs_by_name_or_number():
    assert mapped([" Yes", "no"], ["no", "yes"], place="f") == {" Yes": "yes", "no": "no"}
    with pytest.raises(InputError, match="which is which"):
        mapped(["x", "y"], ["LABEL_0", "LABEL_1"], place="f")


def test_nothing_is_recommended_beyond_the_budget():
    class Build:
        def __init__(self, name, size_bytes, outcome):
            self.name, self.size_bytes, self.outcome = name, size_bytes, outcome

    builds = [
        Build("a", 100, "pass"),
        Build("b", 50, "inconclusive"),
        Build("c", 40, "fail"),
        Build("d", 70, "pass"),
    ]
    best, undecided = recommended(builds)
    assert (best.name, [one.name for one in undecided]) == ("d", ["b"])
    best, undecided = recommended(builds, budget_bytes=60)
    assert (best, [one.name for one in undecided]) == (None, ["b"])


@pytest.mark.parametrize(("asked", "meant"), [("", "all"), ("bnb-int8,bnb-nf4", "bnb-int8,bnb-nf4")])
def test_quantizers_that_are_named_are_kept_for_a_served_model(asked, meant, monkeypatch):
    from calbench import models
    from calbench.cli._check import _named

    served = models.ModelSource("far", "causal-lm", "", builds=(("bf16", "http://127.0.0.1:9/v1"),))
    monkeypatch.setattr(models, "get", lambda name: served)
    assert _named("far", "tweets", "", "", "", "", asked).quantizers == meant
