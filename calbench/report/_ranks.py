"""Between which ranks each calibrator lies, among those measured on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from calbench.metrics import get
from calbench.report._diagrams import unpacked_resamples
from calbench.report._format import Resamples, Row
from calbench.statistics import Resampled, rank_intervals

METRIC = "ece"


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Return rows with ``rank`` among the calibrators of one model, task and quantizer.

    Rows are sorted by those. The resampled values that ranks are computed from are dropped.
    """
    result: list[Row] = []
    for _, group in groupby(rows, key=lambda row: (row["model"], row["task"], row["quantizer"])):
        members = list(group)
        entries = {row["calibrator"]: entry_of(METRIC, row["ranked"]) for row in members if "ranked" in row}
        sizes = {(entry.n_items, entry.values.shape) for entry in entries.values()}
        ranks = rank_intervals(entries) if len(entries) > 1 and len(sizes) == 1 else {}
        for row in members:
            kept = row.copy()
            kept.pop("ranked", None)
            place = ranks.get(row["calibrator"])
            if place:
                kept["rank"] = {"rank": place.rank, "interval": list(place.interval), "of": len(ranks)}
            result.append(kept)
    return result


def entry_of(metric: str, found: Resamples) -> Resampled:
    """Return a metric with its resampled values, as a row of results holds them."""
    return Resampled.of_values(
        get(metric), found["value"], unpacked_resamples(found["resamples"]), found["n"]
    )
