"""The leaderboard as a table for spreadsheets and data frames: one row a cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calbench.gates import TRANSFER_ARMS
from calbench.report._judged import judged
from calbench.report._results import DIFFERENCES, Row, verdict

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
    for name in ("model", "task", "quantizer", "calibrator"):
        yield name, _text(row[name])
    yield "verdict", verdict(row)
    yield "failed", _text("; ".join(each.figure() for each in judged([row]) if each.outcome == "fail"))
    yield "accepted", _text("; ".join(g["accepted"] for g in row["gates"] if g.get("accepted")))
    for name in ("effective_bits", "resident_bytes"):
        yield name, row["quantization"].get(name)
    place = row.get("rank") or {}
    yield "rank", place.get("rank")
    yield "rank.low", place.get("interval", (None, None))[0]
    yield "rank.high", place.get("interval", (None, None))[1]
    for name in ("n_calibration", "n_test", "seed", "level"):
        yield name, row[name]
    for arm in TRANSFER_ARMS:
        yield from _estimates(arm, row["arms"].get(arm, {}))
    for name in DIFFERENCES:
        yield from _estimates(name, row[name])
    yield "record.reference", row["records"]["reference"]
    yield "record.candidate", row["records"]["candidate"]
    yield "warnings", _text("; ".join(row["warnings"]))


def _estimates(name: str, estimates: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for metric, estimate in estimates.items():
        yield f"{name}.{metric}", estimate["value"]
        yield f"{name}.{metric}.low", estimate["interval"][0]
        yield f"{name}.{metric}.high", estimate["interval"][1]


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value
