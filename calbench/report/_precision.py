"""The table of precisions: one row a quantizer, one table a model and task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from tabulate import tabulate

from calbench.report._leaderboard import bits, mebibytes
from calbench.statistics import Estimate
from calbench.studies import MissingRow, PrecisionRow

AT_CHANCE = "†"
LEGEND = (
    "bits: stored bits per weight of the quantized layers, scales included; of all: of the whole model,"
    " embeddings and heads too. MiB: the whole model in memory. load s: opening the full-precision weights,"
    " which are mapped into memory, and asking the proof's texts. build s: quantizing. Δlogit: mean absolute"
    " change of a logit; KL: of fp32 to quantized, in nats; flips: answers that differ; all three against"
    " fp32 on the same test items. Intervals are 95%."
)
OPEN_LEGEND = (
    "Open questions: only the answer that was given has a confidence, so Δlogit, KL and NLL are blank, and"
    " calibrators that need the logit of every class are left out; flips: answers whose words differ."
)
CHANCE_LEGEND = (
    f"{AT_CHANCE} at chance: the accuracy is not shown to be above what never reading an item gives"
    " ({chance}); the ECE of guesses says nothing about calibration."
)


def precision_markdown(rows: Sequence[PrecisionRow | MissingRow]) -> str:
    """Return the tables as GitHub markdown, which reads well in a terminal too."""
    lines: list[str] = []
    for (model, task), group in groupby(rows, key=lambda row: (row.model, row.task)):
        found = [row for row in group if isinstance(row, PrecisionRow)]
        if not found:
            continue
        lines += [
            f"### {model} on {task}: {found[0].n_test:,} test items",
            "",
            _table(map(_cells, found)),
            "",
        ]
        calibrated = [line for row in found for line in _calibrated_cells(row)]
        if calibrated:
            lines += [_table(calibrated), ""]
        lines += [part for row in found for note in row.notes for part in (f"{row.quantizer}: {note}.", "")]
        if any(row.at_chance for row in found):
            chance = ", ".join(sorted({f"{row.chance:.3f}" for row in found}))
            lines += [CHANCE_LEGEND.format(chance=chance), ""]
    if any(isinstance(row, PrecisionRow) and row.logit_change is None for row in rows):
        lines += [OPEN_LEGEND, ""]
    return "\n".join([*lines, LEGEND]) if lines else ""


def precision_json(rows: Sequence[PrecisionRow | MissingRow]) -> list[dict[str, Any]]:
    """Return the rows as plain JSON."""
    return [
        asdict(row) | ({"at_chance": row.at_chance} if isinstance(row, PrecisionRow) else {}) for row in rows
    ]


def _cells(row: PrecisionRow) -> dict[str, str]:
    report = row.quantization
    seconds = report["seconds"]
    reference = row.records["reference"] == row.records["candidate"]
    loading = seconds.get("build" if report["proof"] is None else "load")
    return {
        "quantizer": row.quantizer,
        "bits": bits(report.get("effective_bits"), 2),
        "of all": bits(report.get("model_effective_bits"), 2),
        "MiB": mebibytes(report.get("resident_bytes"), 1),
        "load s": "" if loading is None else f"{loading:.1f}",
        "build s": "" if report["proof"] is None else f"{seconds['build']:.1f}",
        "Δlogit": "" if reference or row.logit_change is None else f"{row.logit_change:.4f}",
        "KL": "" if reference or row.kl_divergence is None else _scientific(row.kl_divergence),
        "flips": "" if reference else f"{row.flip_rate:.1%}",
        "accuracy": _with_interval(row.accuracy) + (f" {AT_CHANCE}" if row.at_chance else ""),
        "ECE": _with_interval(row.ece),
    }


def _calibrated_cells(row: PrecisionRow) -> list[dict[str, str]]:
    return [
        {
            "quantizer": row.quantizer,
            "calibrator": calibrator,
            "transferred ECE": _with_interval(parts["transferred"]["ece"]),
            "refitted ECE": _with_interval(parts["refitted"]["ece"]),
            "Δ ECE": _with_interval(parts["degradation"]["ece"], "+"),
            "transferred NLL": _with_interval(parts["transferred"]["nll"])
            if "nll" in parts["refitted"]
            else "",
        }
        for calibrator, parts in row.calibrated.items()
    ]


def _table(rows: Any) -> str:
    table: str = tabulate(list(rows), headers="keys", tablefmt="github", disable_numparse=True)
    return table


def _with_interval(estimate: Estimate, sign: str = "") -> str:
    low, high = estimate.interval
    return f"{estimate.value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _scientific(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:.2g} [{low:.2g}, {high:.2g}]"
