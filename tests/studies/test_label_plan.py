"""Which items to label, and what their labels show."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from calbench import Predictions
from calbench.cli import app
from calbench.errors import InputError
from calbench.interchange import read, read_answers
from calbench.records import ColumnNames
from calbench.statistics import labelled_change
from calbench.studies import judged_plan, plan_labels

N = 300
NAMES = ("neg", "neutral", "pos")


@pytest.fixture
def pair(tmp_path):
    """Write two csv files of probabilities without labels; return them and the right classes by id."""
    rng = np.random.default_rng(0)
    z = 2 * rng.normal(size=(N, 3))
    right = dict(zip([f"q{i}" for i in range(N)], (z + rng.gumbel(size=z.shape)).argmax(axis=1), strict=True))
    paths = []
    for name, noise in (("fp32", 0.0), ("int4", 0.7)):
        logits = z + noise * rng.normal(size=z.shape)
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        paths.append(tmp_path / f"{name}.csv")
        with paths[-1].open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["item_id", "p_neg", "p_neutral", "p_pos"])
            writer.writerows([item, *row] for item, row in zip(right, probs.tolist(), strict=True))
    return *paths, right


def run(*arguments):
    return CliRunner().invoke(app, ["label-plan", *map(str, arguments)], catch_exceptions=True)


def filled(plan, right, names=NAMES):
    with plan.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = names[right[row["item_id"]]]
    with plan.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.fixture
def plan(pair, tmp_path):
    path = tmp_path / "plan.csv"
    done = run(pair[0], pair[1], "--columns", "probs=p_*", "--n", 100, "--out", path)
    assert done.exit_code == 0, done.output
    return path


def test_a_plan_says_what_to_label_and_what_that_is_worth(pair):
    done = run(pair[0], pair[1], "--columns", "probs=p_*", "--n", 100, "--json")
    said = json.loads(done.output)
    assert sum(said["n_labels"].values()) == len(said["item_ids"]) == 100
    assert min(said["inclusion_probability"].values()) > 0
    assert said["worth"] == round(said["n_labels"]["flip"] * N / said["n_flips"])


def test_labels_that_were_filled_in_are_judged(pair, plan):
    filled(plan, pair[2])
    done = run(pair[0], pair[1], "--columns", "probs=p_*", "--judge", plan, "--json")
    assert done.exit_code == 0, done.output
    found = {change["metric"]: change for change in json.loads(done.output)["differences"]}
    assert set(found) == {"accuracy", "overconfidence_gap", "ece[n_bins=1]", "ece_shared_bins"}
    ids = list(pair[2])
    names = ColumnNames(probs="p_*")
    labels = [pair[2][item] for item in ids]
    sides = [read_answers(path, columns=names).predicted for path in pair[:2]]
    right = [np.mean([NAMES.index(a) == y for a, y in zip(side, labels, strict=True)]) for side in sides]
    low, high = found["accuracy"]["interval"]
    assert low < right[1] - right[0] < high


def test_what_is_read_is_what_the_library_gives(pair, plan):
    filled(plan, pair[2])
    sides = [read_answers(path, columns=ColumnNames(probs="p_*")) for path in pair[:2]]
    _, sample = judged_plan(*sides, plan)
    assert len(sample.rows) == 100
    assert labelled_change(sample, "accuracy").n == 100


def test_labels_of_records_are_not_read(pair):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(N, 3))
    other = logits + rng.normal(size=(N, 3))
    plans = [
        plan_labels(Predictions(range(N), logits, labels), Predictions(range(N), other, labels), 80).rows
        for labels in (np.zeros(N, int), np.full(N, 2))
    ]
    assert plans[0] == plans[1]


def test_a_smaller_plan_is_part_of_a_larger_one_as_far_as_flips_go(pair):
    sides = [read_answers(path, columns=ColumnNames(probs="p_*")) for path in pair[:2]]
    small, large = (plan_labels(*sides, n) for n in (60, 120))
    assert {row for row in small.rows if small.flips[row]} <= set(large.rows)


def test_the_order_of_rows_changes_no_plan(pair):
    sides = [read_answers(path, columns=ColumnNames(probs="p_*")) for path in pair[:2]]
    lines = pair[0].read_text().splitlines()
    pair[0].write_text("\n".join([lines[0], *reversed(lines[1:])]))
    turned = read_answers(pair[0], columns=ColumnNames(probs="p_*"))
    assert plan_labels(turned, sides[1], 80).rows == plan_labels(*sides, 80).rows


@pytest.mark.parametrize("command", ["evaluate", "report", "import", "threshold", "transfer", "compare"])
def test_no_other_command_reads_a_plan(pair, plan, tmp_path, command):
    filled(plan, pair[2])
    more = [plan] if command in ("transfer", "compare") else []
    more += ["--output", tmp_path / "x.parquet"] if command in ("import", "report") else []
    done = CliRunner().invoke(app, [command, *map(str, [plan, *more])])
    assert isinstance(done.exception, InputError), done.output
    assert "is a plan of which items to label" in str(done.exception)


def test_a_plan_is_no_file_of_answers(pair, plan):
    filled(plan, pair[2])
    with pytest.raises(InputError, match="far too often for a random sample"):
        read(pair[0], columns=ColumnNames(probs="p_*"), answers=plan)


def test_a_missing_label_is_named(pair, plan):
    with pytest.raises(InputError, match=r"100 of 100 items have no label yet, 'q"):
        judge(pair, plan)


def test_a_label_that_is_no_class_is_named(pair, plan):
    filled(plan, pair[2], ("bad", "neutral", "pos"))
    with pytest.raises(InputError, match=r"label 'bad' of item 'q\d+' is none of the classes neg, neutral"):
        judge(pair, plan)


def test_rows_that_were_dropped_are_named(pair, plan):
    filled(plan, pair[2])
    plan.write_text("\n".join(plan.read_text().splitlines()[:-3]) + "\n")
    with pytest.raises(InputError, match=r"its items are not the plan's \(3 differ"):
        judge(pair, plan)


def test_a_plan_for_other_answers_is_refused(pair, plan):
    filled(plan, pair[2])
    with pytest.raises(InputError, match="is a plan for other answers than these"):
        judge((pair[1], pair[0]), plan)


def test_confidences_without_answers_cannot_tell_what_flips(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("item_id,confidence\na,0.9\nb,0.8\n")
    with pytest.raises(InputError, match="it is not known what was answered"):
        read_answers(path)


def test_answers_with_their_confidences_are_enough(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("item_id,confidence,predicted\na,0.9,Paris\nb,0.8,Rome\n")
    assert read_answers(path).predicted.tolist() == ["Paris", "Rome"]


def test_clusters_are_refused():
    logits = np.random.default_rng(2).normal(size=(60, 2))
    record = Predictions(range(60), logits, np.zeros(60, int), cluster_ids=[i // 2 for i in range(60)])
    with pytest.raises(InputError, match="the items lie in clusters"):
        plan_labels(record, record, 30)


def judge(pair, plan):
    return judged_plan(*(read_answers(path, columns=ColumnNames(probs="p_*")) for path in pair[:2]), plan)
