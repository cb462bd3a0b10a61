"""Calibrators and quantizers ranked over all cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calbench.report import rankings, rankings_markdown
from calbench.report._diagrams import packed_resamples
from tests.report.rows import row

TASKS = ("a", "b", "c")
EFFECTS = {"temperature": 0.0, "better": -0.05, "worse": 0.05, "alike": 0.0}


def ranked(value, spread=0.01, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread, size=400)
    found = {"value": value, "n": 1000, "resamples": packed_resamples(value + noise)}
    return {**found, "more": dict.fromkeys(("nll", "brier", "accuracy"), found)}


def cell(calibrator, task, quantizer="bnb-nf4", value=0.4, **changes):
    return row(quantizer, calibrator, task=task, ranked=ranked(value), **changes)


@pytest.fixture
def rows():
    return [
        cell(name, task, value=0.4 + 0.1 * i + effect * (1 + i))
        for i, task in enumerate(TASKS)
        for name, effect in EFFECTS.items()
    ]


def by_id(table, metric="nll"):
    return {entry["id"]: entry for entry in table["metrics"][metric]}


def test_calibrators_are_ranked_over_the_cells_that_all_of_them_have(rows):
    table = rankings([*rows, cell("partial", "a", value=0.1)])["calibrators"]
    found = by_id(table)
    assert table["n_cells"] == 3
    assert table["left_out"] == ["partial"]
    assert [found[name]["rank"] for name in ("better", "alike", "temperature", "worse")] == [1, 2, 2, 4]
    assert found["better"]["first"] == 1
    assert found["better"]["value"] == pytest.approx(np.mean([0.35, 0.4, 0.45]))


def test_wins_and_losses_are_counted_against_temperature_in_paired_intervals(rows):
    found = by_id(rankings(rows)["calibrators"])
    counts = {name: [entry[k] for k in ("wins", "ties", "losses")] for name, entry in found.items()}
    assert counts["better"] == [3, 0, 0]
    assert counts["worse"] == [0, 0, 3]
    assert counts["alike"] == [0, 3, 0]
    assert found["worse"]["matrix"]["better"] == {"wins": 0, "ties": 0, "losses": 3}


def test_the_interval_over_tasks_is_students(rows):
    across = by_id(rankings(rows)["calibrators"])["worse"]["over_tasks"]
    differences = np.array([0.05, 0.10, 0.15])
    expected = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert across["df"] == 2
    assert across["interval"] == pytest.approx(expected)


def test_models_that_are_asked_one_task_count_as_one_of_it(rows):
    twice = [each | {"model": model} for each in rows for model in ("one", "other")]
    assert by_id(rankings(twice)["calibrators"])["worse"]["over_tasks"]["df"] == 2


def test_what_became_of_the_gates_stands_beside_a_rank(rows):
    gates = [{"outcome": outcome} for outcome in ("pass", "pass", "fail", "inconclusive")]
    judged = [each | {"gates": gates} for each in rows if each["calibrator"] != "better"]
    judged += [each | {"gates": []} for each in rows if each["calibrator"] == "better"]
    tables = rankings(judged)
    found = by_id(tables["calibrators"])
    assert found["worse"]["gates"] == {"kept": 6, "lost": 3, "undecided": 3}
    assert found["better"]["gates"] == {"kept": 0, "lost": 0, "undecided": 0}
    assert "6 / 3 / 3" in rankings_markdown(tables)


def test_one_task_gives_no_interval_over_tasks(rows):
    one = [each for each in rows if each["task"] == "a"]
    assert by_id(rankings(one)["calibrators"])["worse"]["over_tasks"] is None


def test_full_precision_is_no_quantizer_that_is_ranked():
    same = {"records": {"reference": "a" * 64, "candidate": "a" * 64}}
    rows = [cell("temperature", "a", q) for q in ("bnb-int8", "bnb-nf4")]
    table = rankings([*rows, cell("temperature", "a", "fp32", **same)])["quantizers"]
    assert set(by_id(table)) == {"bnb-int8", "bnb-nf4"}


@pytest.mark.parametrize("quantizer", ["gguf-q4_1", "awq-int4[group_size=32]", "hqq-int4[group_size=32]"])
def test_what_a_decoded_reference_flatters_is_left_out_and_named(quantizer):
    decoded = "fp32, dequantized from a Q4_1 file"
    names = ("bnb-int8", "bnb-nf4", quantizer)
    rows = [cell("temperature", "a", q, reference=decoded) for q in names]
    table = rankings(rows)["quantizers"]
    assert table["flattered"] == [quantizer]
    assert set(by_id(table)) == {"bnb-int8", "bnb-nf4"}
    whole = [cell("temperature", "a", q) for q in names]
    assert quantizer in by_id(rankings(whole)["quantizers"])


def test_the_table_shows_ranks_with_intervals_and_accuracy(rows):
    text = rankings_markdown(rankings(rows))
    assert "## Ranking of calibrators by NLL, over 3 cells" in text
    assert "3 / 0 / 0" in text
    assert "df 2" in text


def test_rows_without_resamples_rank_nothing():
    assert rankings([row()]) == {}
    assert rankings_markdown({}) == ""


def test_nll_comes_first_whatever_the_order_in_a_file():
    rows = [cell("temperature", "a", value=0.3), cell("other", "a", value=0.4)]
    tables = rankings(rows)
    table = tables["calibrators"]
    table["metrics"] = {"brier": table["metrics"]["nll"], "nll": table["metrics"]["nll"]}
    text = rankings_markdown(tables)
    assert text.index("by NLL") < text.index("by BRIER")
