"""The results format: a published JSON Schema, checked whenever results are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from calbench.errors import InputError
from calbench.records import json_document
from calbench.report._results import SCHEMA, merge

OLDEST = 1
_RENAMED = {"native": "refitted", "baseline": "reference"}
_TEXTS = ("test", "metric", "outcome", "accepted", "candidate", "reference")  # of a gate


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of ``results.json``."""
    text = resources.files("calbench.report").joinpath("assets/results.schema.json").read_text("utf-8")
    contents: dict[str, Any] = json.loads(text)
    return contents


def read_results(path: Path) -> dict[str, Any]:
    """Read a results file, bringing an older one up to date.

    Raises
    ------
    InputError
        It is no results file, was written by a newer calbench, or does not fit the schema; the
        message says where.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    document = json_document(path)
    version = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or "cells" not in document:
        raise InputError(f"{path}: is no results file of calbench (it has no schema and cells)")
    if version > SCHEMA:
        raise InputError(
            f"{path}: was written by calbench {document.get('calbench')} in format {version}, and this one"
            f" ({_own_version()}) reads up to {SCHEMA}; pip install --upgrade calbench"
        )
    if version < OLDEST:
        raise InputError(f"{path}: format {version} does not exist; the oldest is {OLDEST}")
    # Version 1 only lacks fields that may be absent.
    cells = document["cells"]
    renamed = [_updated(cell) for cell in cells] if isinstance(cells, list) else cells
    updated = {**document, "schema": SCHEMA, "cells": renamed}
    check(updated, str(path))
    return {**updated, "cells": [_with_numbers(cell) for cell in updated["cells"]]}


def _updated(cell: Any) -> Any:
    """Return a cell of an older file in today's words: before version 3 two of them meant several things."""
    if not isinstance(cell, dict) or not isinstance(cell.get("arms"), dict):
        return cell  # the schema says what is wrong with it
    renamed = {_RENAMED.get(name, name): value for name, value in cell.items()}
    for part in ("arms", "reliability"):
        if isinstance(renamed.get(part), dict):
            renamed[part] = {_RENAMED.get(arm, arm): value for arm, value in renamed[part].items()}
    return renamed


def _with_numbers(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell with the numbers that JSON could not hold."""
    parts = ("arms", "degradation", "regret", "benefit", "gates")
    return {name: _numbers(value) if name in parts else value for name, value in cell.items()}


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: part if name in _TEXTS else _numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return float(value) if value in ("inf", "-inf", "nan") else value


def check(document: Mapping[str, Any], name: str = "results") -> None:
    """Raise :class:`InputError` where a document does not fit the schema."""
    import fastjsonschema

    try:
        _validator()(document)
    except fastjsonschema.JsonSchemaValueException as error:
        place = error.name or "data"
        problem = error.message.removeprefix(place).strip()
        raise InputError(f"{place.replace('data', name, 1)} {problem}") from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply to be results") from None


def combined(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one document of several; later ones win where cells are the same.

    Raises
    ------
    InputError
        There is none, or a metric is defined differently in two of them.
    """
    given = list(documents)
    if not given:
        raise InputError("there are no results to report")
    metrics: dict[str, Any] = {}
    for document in given:
        for name, fingerprint in document["metrics"].items():
            if metrics.setdefault(name, fingerprint) != fingerprint:
                raise InputError(
                    f"{name} is defined differently in two results ({fingerprint} and {metrics[name]});"
                    " report them apart"
                )
    if len(given) == 1:
        return dict(given[0])
    cells, comparisons = {}, list[Any]()
    for document in given:
        later = document.get("comparisons", [])
        names = {comparison["name"] for comparison in later}
        comparisons = [*(c for c in comparisons if c["name"] not in names), *later]
        for cell in document["cells"]:
            cells[cell["model"], cell["task"], cell["quantizer"], cell["calibrator"]] = cell
    # merge() sorts, but ranks again nothing that has no resamples, so that ranks are kept.
    return {
        **given[-1],
        "metrics": metrics,
        "cells": merge(cells.values()),
        "comparisons": comparisons,
        "confidence_pairs": _union(given, "confidence_pairs"),
        "records": _union(given, "records"),
    }


def _union(documents: list[Mapping[str, Any]], name: str) -> dict[str, Any]:
    return {key: value for document in documents for key, value in document.get(name, {}).items()}


@cache
def _validator() -> Any:
    import fastjsonschema

    return fastjsonschema.compile(schema())


def _own_version() -> str:
    import calbench

    return calbench.__version__
