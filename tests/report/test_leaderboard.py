"""Rows, their merging, and the two leaderboards."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from calbench.report import markdown, merge, terminal, verdict
from tests.report.rows import estimate, row


def rendered(rows):
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(terminal(rows))
    return capture.get()


def test_rows_of_one_cell_are_merged_with_all_their_gates():
    first, second = row(), row(outcome="fail")
    second["gates"][0]["test"] = "t.py::b"
    (merged,) = merge([first, second])
    assert [gate["outcome"] for gate in merged["gates"]] == ["pass", "fail"]
    assert verdict(merged["gates"]) == "fail"


def test_merging_does_not_depend_on_order():
    rows = [row("fp32"), row("gptq-int4"), row("bnb-int8", "identity"), row("bnb-int8")]
    assert merge(rows) == merge(rows[::-1])
    assert [r["quantizer"] for r in merge(rows)] == ["fp32", "bnb-int8", "bnb-int8", "gptq-int4"]


def test_markdown_shows_every_metric_with_interval_and_n():
    text = markdown(merge([row("fp32", outcome=""), row()]))
    assert "1,234" in text
    assert "0.0500 [0.0400, 0.0600]" in text
    assert "+0.0030 [-0.0070, +0.0130]" in text
    assert "| 4.50" in text


@pytest.mark.parametrize(
    ("benefit", "mark"),
    [
        (estimate(0.02), ""),
        (estimate(-0.001), ""),
        (estimate(-0.019, -0.05, 0.01), ""),
        (estimate(-0.021, -0.05, 0.01), "▽"),
        (estimate(-0.05), "▼"),
        (estimate(float("nan")), ""),
    ],
)
def test_a_calibrator_that_hurts_is_marked(benefit, mark):
    text = markdown([row(benefit=0.0) | {"benefit": {"ece": benefit}}])
    line = next(line for line in text.splitlines() if line.startswith("| bnb-nf4"))
    assert ("▼" in line, "▽" in line) == (mark == "▼", mark == "▽")


def test_terminal_shows_verdicts():
    text = rendered(merge([row(), row("gptq-int4", outcome="fail"), row("bnb-int8", outcome="inconclusive")]))
    line = next(line for line in text.splitlines() if "temperature" in line)
    assert [mark for mark in line if mark in "✓✗?"] == ["?", "✓", "✗"]


@pytest.mark.parametrize(
    ("quantizer", "metric", "marked"),
    [
        ("bnb-nf4", "accuracy", False),
        ("bnb-nf4", "brier", False),
        ("bnb-nf4", "ece[n_bins=10]", True),
        ("fp32", "accuracy", False),
        ("fp32", "brier", True),
    ],
)
def test_the_terminal_marks_only_what_a_gate_of_ece_decided(quantizer, metric, marked):
    gated = row(quantizer)
    gated["gates"][0]["metric"] = metric
    line = next(line for line in rendered(merge([gated])).splitlines() if "temperature" in line)
    assert ("✓" in line) == marked


def test_terminal_leaves_a_gap_where_a_cell_was_not_run():
    text = rendered(merge([row(), row("gptq-int4", "identity")]))
    assert "identity" in text


def test_an_accepted_failure_is_shown_as_one():
    accepted = row(outcome="fail")
    accepted["gates"][0]["accepted"] = "known"
    assert r"fail: ece +0.003 \> +0.02 (accepted)" in markdown([accepted])


def test_a_gate_that_fails_on_another_metric_is_named_beside_a_passing_ece():
    gated = row()
    gated["gates"].append({**row(outcome="fail")["gates"][0], "metric": "nll", "delta": 0.461})
    line = next(line for line in rendered([gated]).splitlines() if "temperature" in line)
    assert "✓ ✗nll" in line
    assert r"fail: nll +0.461 \> +0.02" in markdown([gated])


def test_a_groups_tasks_have_a_pooled_row():
    sizes = {"a": 100, "b": 300}
    rows = [row() | {"task": name, "group": "lm-eval:mmlu", "n_test": n} for name, n in sizes.items()]
    rows[1]["arms"] = {arm: dict(rows[1]["arms"][arm]) for arm in rows[1]["arms"]}
    rows[0]["arms"]["transferred"]["ece"] = {"value": 0.10, "interval": [0.06, 0.14], "level": 0.95, "n": 100}
    rows[1]["arms"]["transferred"]["ece"] = {"value": 0.02, "interval": [0.01, 0.05], "level": 0.95, "n": 300}
    text = markdown(rows).split("## ")[-1]
    line = next(line for line in text.splitlines() if line.startswith("| bnb-nf4"))
    # (100 * .10 + 300 * .02) / 400, and the sides added in squares
    low = 0.04 - ((0.25 * 0.04) ** 2 + (0.75 * 0.01) ** 2) ** 0.5
    high = 0.04 + ((0.25 * 0.04) ** 2 + (0.75 * 0.03) ** 2) ** 0.5
    assert "lm-eval:mmlu" in text
    assert "| 2 " in line
    assert "| 400 " in line
    assert f"0.0400 [{low:.4f}, {high:.4f}]" in line
    assert "Mean over" not in markdown(rows[:1])
