"""Where a record came from: which files, with which content, read how."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import calbench
from calbench.records import AnyRecord


def with_origin(
    record: AnyRecord, paths: Iterable[Path], *, format_: str, facts: Mapping[str, Any]
) -> AnyRecord:
    """Return the record with an ``origin`` among its metadata.

    Parameters
    ----------
    record
        What was read.
    paths
        The files that it was read from; their names and the hashes of their content are kept.
    format_
        Which reader read them.
    facts
        What else is known, such as the model and the harness's version.
    """
    origin = {
        "format": format_,
        "files": [{"name": path.name, "sha256": _sha256(path)} for path in paths],
        "calbench": calbench.__version__,
    }
    return record.with_metadata({**record.metadata, **facts, "origin": origin})


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            state.update(part)
    return state.hexdigest()
