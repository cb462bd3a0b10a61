"""The leaderboard: compact in a terminal, complete in markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from calbench.experiments.cells import REFERENCE
from calbench.report.results import Row, verdict

_MARKS = {"pass": ("✓", "green"), "inconclusive": ("?", "yellow"), "fail": ("✗", "red"), "": (" ", "")}
_METRICS = ("ece", "nll", "brier", "accuracy")

LEGEND = (
    "Each number is the ECE on the test items after a calibrator fitted on the full-precision model"
    " (fp32 itself: fitted and scored there). ✓ within the margin, ✗ shown to exceed it, ? the interval"
    " holds the margin (the suite's gate: of ECE, and at fp32 of the Brier score against no calibrator)."
    " ▼ this calibrator makes the quantized model worse than none, ▽ it may."
)


def terminal(rows: Sequence[Row]) -> RenderableType:
    """Return one compact table per model and task: calibrators down, quantizers across."""
    parts: list[RenderableType] = []
    for (model, task), group in _by_model_and_task(rows):
        quantizers = list(dict.fromkeys(row["quantizer"] for row in group))
        first = group[0]
        parts.append(Text(f"\n{model} on {task}: ECE on {first['n_test']:,} test items", style="bold"))
        table = Table()
        table.add_column("calibrator", no_wrap=True)
        for quantizer in quantizers:
            row = next(row for row in group if row["quantizer"] == quantizer)
            table.add_column(f"{quantizer}\n{_size(row)}", justify="right")
        cells = {(row["calibrator"], row["quantizer"]): row for row in group}
        for calibrator in dict.fromkeys(row["calibrator"] for row in group):
            found = [cells.get((calibrator, quantizer)) for quantizer in quantizers]
            table.add_row(calibrator, *[_short(row) if row else Text("") for row in found])
        parts.append(table)
    return Group(*parts, Text(LEGEND, style="dim"))


def markdown(rows: Sequence[Row]) -> str:
    """Return the whole leaderboard as markdown, one table per model and task."""
    lines = ["# Leaderboard", "", LEGEND, ""]
    lines += [
        "`Δ ECE` is the transferred calibrator's ECE minus that of the calibrated reference, on the"
        " same items; `regret` is what refitting on the quantized model would gain; intervals are paired"
        " bootstrap intervals. Bits are stored bits per weight of the quantized layers, scales included;"
        " MiB is the whole model in memory.",
        "",
    ]
    for (model, task), group in _by_model_and_task(rows):
        first = group[0]
        lines += [
            f"## {model} on {task}",
            "",
            f"Reference: {first['baseline']}. Fitted on {first['n_calibration']:,} items, scored on"
            f" {first['n_test']:,}; {first['level']:.0%} intervals; seed {first['seed']}.",
            "",
            tabulate([_full(row) for row in group], headers="keys", tablefmt="github", disable_numparse=True),
            "",
        ]
    return "\n".join(lines)


def summary(rows: Sequence[Row], *, calibrator: str) -> str:
    """Return one markdown table of all models, tasks and quantizers for a single calibrator."""
    chosen = [row for row in rows if row["calibrator"] == calibrator]
    table: str = tabulate(
        [_brief(row) for row in chosen], headers="keys", tablefmt="github", disable_numparse=True
    )
    return table


def _brief(row: Row) -> dict[str, str]:
    arms, size = row["arms"], row["quantization"]
    return {
        "model": row["model"],
        "task": row["task"],
        "n": f"{row['n_test']:,}",
        "quantizer": row["quantizer"],
        "bits": f"{size['effective_bits']:.1f}",
        "MiB": f"{size['resident_bytes'] / 2**20:.0f}",
        "accuracy": f"{arms['raw_candidate']['accuracy']['value']:.3f}",
        "raw ECE": f"{arms['raw_candidate']['ece']['value']:.3f}",
        "transferred ECE": _with_interval(arms["transferred"]["ece"], digits=3),
        "Δ": "" if row["quantizer"] == REFERENCE else _with_interval(row["degradation"]["ece"], "+", 3),
        "verdict": _verdict(row),
    }


def _by_model_and_task(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, str], list[Row]]]:
    for key, group in groupby(rows, key=lambda row: (row["model"], row["task"])):
        yield key, list(group)


def _short(row: Row) -> Text:
    mark, style = _MARKS[verdict(row)]
    return Text.assemble(
        f"{row['arms']['transferred']['ece']['value']:.4f}", _hurts(row), (f" {mark}", style)
    )


def _full(row: Row) -> dict[str, str]:
    arms = row["arms"]
    reference = row["quantizer"] == REFERENCE
    return {
        "quantizer": row["quantizer"],
        "bits": f"{row['quantization']['effective_bits']:.2f}",
        "MiB": f"{row['quantization']['resident_bytes'] / 2**20:.1f}",
        "calibrator": row["calibrator"],
        "ECE raw": f"{arms['raw_candidate']['ece']['value']:.4f}",
        **{_title(metric): _with_interval(arms["transferred"][metric]) for metric in _METRICS},
        "Δ ECE": "" if reference else _with_interval(row["degradation"]["ece"], "+"),
        "regret": "" if reference else _with_interval(row["regret"]["ece"], "+"),
        "verdict": _verdict(row),
    }


def _verdict(row: Row) -> str:
    accepted = "(accepted)" if any(gate["accepted"] for gate in row["gates"]) else ""
    return " ".join(filter(None, (verdict(row), accepted, _hurts(row).strip())))


def _title(metric: str) -> str:
    return metric if metric == "accuracy" else metric.upper()


def _with_interval(estimate: dict[str, Any], sign: str = "", digits: int = 4) -> str:
    low, high = (f"{bound:{sign}.{digits}f}" for bound in estimate["interval"])
    return f"{estimate['value']:{sign}.{digits}f} [{low}, {high}]"


def _hurts(row: Row) -> str:
    benefit = row["benefit"]["ece"]
    if benefit["value"] >= 0:
        return " "
    return "▼" if benefit["interval"][1] < 0 else "▽"


def _size(row: Row) -> str:
    quantization = row["quantization"]
    return f"{quantization['effective_bits']:.1f} bits\n{quantization['resident_bytes'] / 2**20:.0f} MiB"
