"""What a verdict rests on, in a form that travels: record keys, hashes, versions, and the gates' numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calbench.cache import sha256_of
from calbench.escaping import plain_json
from calbench.report._results import Row
from calbench.store import key_of

FORMAT = 1
_OF_A_GATE = (
    "test",
    "metric",
    "limit",
    "margin",
    "level",
    "interval_level",
    "looks",
    "relative",
    "candidate",
    "reference",
    "outcome",
    "delta",
    "interval",
    "n",
    "folds",
    "accepted",
    "p_value",
)
_OF_A_CELL = (
    "cell",
    "model",
    "task",
    "quantizer",
    "calibrator",
    "seed",
    "n_calibration",
    "epsilons",
    "level",
)


def evidence(document: Mapping[str, Any], *, results: Path) -> dict[str, Any]:
    """Return what is needed to recompute every verdict of a run from stored records.

    Parameters
    ----------
    document
        As :func:`calbench.report.document` returns it.
    results
        The file that it was written to, whose hash is kept.
    """
    others = (*document.get("variants", ()), *document.get("comparisons", ()))
    contents = {
        "format": FORMAT,
        "calbench": document["calbench"],
        "created": document["created"],
        "settings": document["settings"],
        "metrics": document["metrics"],
        "results_sha256": sha256_of(results),
        "records": {key: described["identity"] for key, described in document["records"].items()},
        "gates": [gate for row in document["cells"] for gate in _gates(row)],
        "without_records": [_kept(gate) for other in others for gate in other["gates"]],
    }
    plain: dict[str, Any] = plain_json(contents)
    return {**plain, "sha256": key_of(plain)}


def _gates(row: Row) -> Iterator[dict[str, Any]]:
    about = {name: row.get(name) for name in _OF_A_CELL}
    for gate in row["gates"]:
        yield {"of": {**about, "records": row["records"]}, **_kept(gate)}


def _kept(gate: Mapping[str, Any]) -> dict[str, Any]:
    return {name: gate.get(name) for name in _OF_A_GATE}
