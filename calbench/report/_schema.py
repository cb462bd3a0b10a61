"""The results format: a published JSON Schema, checked whenever results are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import get_type_hints, is_typeddict

from calbench.errors import InputError
from calbench.records import json_document
from calbench.report import _format
from calbench.report._format import ComparisonRow, Results, Row
from calbench.report._results import SCHEMA, merge

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_T = TypeVar("_T")
_NUMBERS = ("inf", "-inf", "nan")  # as JSON can hold them
_WITH_NUMBERS = ("cells", "comparisons", "variants", "rankings")


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``results.json``."""
    from pydantic.json_schema import GenerateJsonSchema

    class Schema(GenerateJsonSchema):
        def float_schema(self, schema: Any) -> dict[str, Any]:  # noqa: ARG002 (pydantic's signature)
            return {"anyOf": [{"type": "number"}, {"enum": list(_NUMBERS)}]}

    return _adapter(Results).json_schema(schema_generator=Schema)


def read_results(path: str | PathLike[str]) -> Results:
    """Read a results file.

    Raises
    ------
    InputError
        It is no results file, is in another format, or does not fit the schema; the message says where.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; write it with pytest --calbench-report={path.parent} (models whose"
            " answers are not stored yet are asked)"
        )
    document = json_document(path)
    version = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or "cells" not in document:
        raise InputError(f"{path}: is no results file of calbench (it has no schema and cells)")
    if version != SCHEMA:
        remedy = (
            "pip install --upgrade calbench"
            if version > SCHEMA
            else "write it anew from the same store with pytest --calbench-replay --calbench-report DIR"
        )
        raise InputError(
            f"{path}: was written by calbench {document.get('calbench')} in format {version}, and this one"
            f" ({_own_version()}) reads format {SCHEMA}; {remedy}"
        )
    held = {part: numbers(document[part]) for part in _WITH_NUMBERS if part in document}
    return checked({**document, **held}, Results, str(path))


def numbers(value: Any) -> Any:
    """Return contents with the numbers that JSON holds as text, but for fields of text."""
    if isinstance(value, dict):
        return {name: part if name in _texts() else numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [numbers(part) for part in value]
    return float(value) if isinstance(value, str) and value in _NUMBERS else value


@cache
def _texts() -> frozenset[str]:
    """Name the fields that are text: a model may be called nan."""
    forms = [form for form in vars(_format).values() if is_typeddict(form)]
    return frozenset(
        name for form in forms for name, kind in get_type_hints(form).items() if kind in (str, str | None)
    )


def checked(document: Any, form: type[_T], name: str) -> _T:
    """Return a document as it is, if it has the form.

    Raises
    ------
    InputError
        It does not; the message names the file, the place in it and, of a cell's, the cell.
    """
    from pydantic import ValidationError

    try:
        _adapter(form).validate_python(document, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False)
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        whose, others = _whose(document, first["loc"]), f" (and {len(more)} more)" if more else ""
        raise InputError(
            f"{name}{place}{whose}: {first['msg']}{others}; write it anew with pytest --calbench-report DIR"
        ) from None
    return document  # type: ignore[no-any-return]


def _whose(document: Any, place: Sequence[int | str]) -> str:
    """Name the row that a place is in."""
    at = document[place[0]][place[1]] if len(place) > 1 and isinstance(place[1], int) else {}
    found = (at.get("cell") or at.get("name") or at.get("test")) if isinstance(at, dict) else ""
    return f" ({found})" if found else ""


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(form)


def combined(documents: Iterable[Results]) -> Results:
    """Return one document of several.

    Raises
    ------
    InputError
        There is none, a metric is defined differently in two of them, or two hold other results of
        one cell: a page that showed one of them would hide the other.
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
        return given[0]
    cells: dict[tuple[str, ...], Row] = {}
    comparisons, again = list[ComparisonRow](), list[tuple[Row, Row]]()
    for document in given:
        for comparison in document.get("comparisons", []):
            same = next((c for c in comparisons if c["name"] == comparison["name"]), None)
            if same is not None and same != comparison:
                raise InputError(
                    f"the comparison {comparison['name']} is in two of these results, and they differ;"
                    " report each"
                    " run by itself: calbench report RESULTS -o FOLDER"
                )
            comparisons += [] if same else [comparison]
        for cell in document["cells"]:
            key = cell["model"], cell["task"], cell["quantizer"], cell["calibrator"]
            if cells.setdefault(key, cell) != cell:
                again.append((cells[key], cell))
    _refuse_two_runs(again)
    # merge() sorts, but ranks again nothing that has no resamples, so that ranks are kept.
    return {
        **given[-1],
        "metrics": metrics,
        "cells": merge(cells.values()),
        "comparisons": comparisons,
        "errors": [error for document in given for error in document.get("errors", ())],
        "confidence_pairs": _union(document["confidence_pairs"] for document in given),
        "records": _union(document["records"] for document in given),
    }


def _refuse_two_runs(again: list[tuple[Row, Row]]) -> None:
    """Refuse two results of one cell, and say which gates ended otherwise."""
    if not again:
        return
    changed = [
        f"{_cell_name(first)}: {a} -> {b}"
        for first, second in again
        if (a := _outcomes(first)) != (b := _outcomes(second))
    ]
    more = f"; gates of {len(changed)} ended otherwise ({'; '.join(changed[:5])})" if changed else ""
    raise InputError(
        f"{len(again)} cells are in two of these results, such as {_cell_name(again[0][0])}{more}; report"
        " each"
        " run by itself: calbench report RESULTS -o FOLDER"
    )


def _cell_name(cell: Row) -> str:
    return "/".join((cell["model"], cell["task"], cell["quantizer"], cell["calibrator"]))


def _outcomes(cell: Row) -> str:
    return ", ".join(gate["outcome"] for gate in cell["gates"]) or "no gates"


def _union(parts: Iterable[Mapping[str, _T]]) -> dict[str, _T]:
    return {key: value for part in parts for key, value in part.items()}


def _own_version() -> str:
    import calbench

    return calbench.__version__
