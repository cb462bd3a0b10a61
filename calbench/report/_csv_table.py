"""The leaderboard as a table for spreadsheets and data frames: one row a cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from calbench.gates import TRANSFER_ARMS
from calbench.report._format import Estimates, Row
from calbench.report._judged import judged
from calbench.report._results import DIFFERENCES, verdict

# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_table(rows: Sequence[Row]) -> str:
    """Return all arms and differences of all metrics, with their intervals, as csv text.

    Columns are called ``arm.metric``, ``arm.metric.low`` and ``arm.metric.high``; what a row did not
    measure is left empty.
    """
    flat = [dict(_flat(row)) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue()


def _flat(row: Row) -> Iterator[tuple[str, Any]]:
    yield "model", _text(row["model"])
    yield "task", _text(row["task"])
    yield "quantizer", _text(row["quantizer"])
    yield "calibrator", _text(row["calibrator"])
    yield "verdict", verdict(row["gates"])
    yield "failed", _text("; ".join(each.figure() for each in judged([row]) if each.outcome == "fail"))
    yield "accepted", _text("; ".join(g["accepted"] for g in row["gates"] if g["accepted"]))
    yield "effective_bits", row["quantization"]["effective_bits"]
    yield "resident_bytes", row["quantization"]["resident_bytes"]
    place = row.get("rank")
    yield "rank", place["rank"] if place else None
    yield "rank.low", place["interval"][0] if place else None
    yield "rank.high", place["interval"][1] if place else None
    yield "n_calibration", row["n_calibration"]
    yield "n_test", row["n_test"]
    yield "seed", row["seed"]
    yield "level", row["level"]
    for arm in TRANSFER_ARMS:
        yield from _estimates(arm, row["arms"].get(arm, {}))
    for name in DIFFERENCES:
        yield from _estimates(name, row[name])
    yield "record.reference", row["records"]["reference"]
    yield "record.candidate", row["records"]["candidate"]
    yield "warnings", _text("; ".join(row["warnings"]))


def _estimates(name: str, estimates: Estimates) -> Iterator[tuple[str, Any]]:
    for metric, estimate in sorted(estimates.items()):  # as results.json holds them
        yield f"{name}.{metric}", estimate["value"]
        yield f"{name}.{metric}.low", estimate["interval"][0]
        yield f"{name}.{metric}.high", estimate["interval"][1]


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value
