"""What a verdict rests on, in a form that travels: record keys, hashes, versions, and the gates' numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from calbench.cache import sha256_of
from calbench.errors import InputError
from calbench.escaping import plain_json
from calbench.gates import Gate, GateFigures
from calbench.records import json_document
from calbench.report._format import Evidence, GateEvidence, JudgedOf, Results, Row
from calbench.report._schema import checked, numbers
from calbench.store import key_of

_FORMAT = 2


def evidence(document: Results, *, results: Path) -> Evidence:
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
        "format": _FORMAT,
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
    return cast("Evidence", {**plain, "sha256": key_of(plain)})


def read_evidence(folder: Path) -> Evidence:
    """Read the evidence in a report's folder.

    Raises
    ------
    InputError
        There is none, it is of another format, or not whole; the message says where.
    """
    path = folder / "evidence.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; pytest --calbench-report DIR writes it")
    said = json_document(path)
    if not isinstance(said, dict) or said.get("format") != _FORMAT:
        raise InputError(
            f"{path}: is no evidence of format {_FORMAT}; pytest --calbench-report DIR writes it"
        )
    gates = {name: numbers(said[name]) for name in ("gates", "without_records") if name in said}
    return checked({**said, **gates}, Evidence, str(path))


def _gates(row: Row) -> Iterator[GateEvidence]:
    of = cast("JudgedOf", {name: row.get(name) for name in JudgedOf.__annotations__})
    for gate in row["gates"]:
        yield {**_kept(gate), "of": of}


def _kept(gate: Gate) -> GateFigures:
    return cast("GateFigures", {name: gate.get(name) for name in GateFigures.__annotations__})
