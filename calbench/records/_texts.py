"""Tables that are text: csv with any separator, and JSON in each of the shapes that tools write."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calbench.errors import InputError
from calbench.records._content import bare_suffix, reading, text_of

Columns = tuple[tuple[str, ...], Mapping[str, Any], Mapping[str, Any]]
_LINES = (".jsonl", ".ndjson", ".jsonlines")
_SPACE = re.compile(r"[ \t\r\n]*")


def csv_table(path: Path, text_columns: tuple[str, ...]) -> Any:
    """Return a csv file as an arrow table; ``text_columns`` stay text.

    Separators may be commas, semicolons, tabs, bars or blanks, and decimals points or commas.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = text_of(path)
    if not text.strip():
        raise InputError(f"{path}: is empty")
    lines = text.lstrip("\r\n").splitlines()[:50]
    mark = _separator(lines)
    if mark == " ":
        text = "\n".join(re.sub(r"[ \t]+", " ", line.strip()) for line in text.splitlines())
    elif any(f"{mark} " in line for line in lines):
        text = _without_blanks(text, mark)
    content = text.encode()
    names = next(csv.reader(lines, delimiter=mark), [])
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{path}: two columns have one name ({', '.join(sorted(twice))}); rename one")
    return arrow_csv.read_csv(
        pa.BufferReader(content),
        # One block: types are inferred from all rows, and a quoted line break may be anywhere.
        read_options=arrow_csv.ReadOptions(block_size=max(len(content) + 1, 2**20), use_threads=False),
        parse_options=arrow_csv.ParseOptions(delimiter=mark, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in text_columns},
            decimal_point="," if mark != "," and _has_decimal_commas(lines, mark) else ".",
        ),
    )


def _separator(lines: list[str]) -> str:
    """Return what separates columns: what every line has as often as the first, most often."""
    counts = {}
    for mark in ",;\t|":
        widths = [len(row) for row in csv.reader(lines, delimiter=mark) if row]
        # The last line that is looked at may be cut inside a quoted text.
        if widths and widths[0] > 1 and all(width == widths[0] for width in widths[:-1]):
            counts[mark] = widths[0]
    if counts:
        return max(counts, key=lambda mark: counts[mark])
    found = next((mark for mark in "\t;|," if mark in lines[0]), None)
    if found is not None:
        return found
    widths = [len(line.split()) for line in lines if line.strip()]
    blanks = '"' not in lines[0] and widths[0] > 1 and all(width == widths[0] for width in widths)
    return " " if blanks else ","


def _without_blanks(text: str, mark: str) -> str:
    """Return a csv text without the blanks that follow its separators."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
    written = io.StringIO()
    csv.writer(written, delimiter=mark, lineterminator="\n").writerows(row for row in rows if row)
    return written.getvalue()


def _has_decimal_commas(lines: list[str], mark: str) -> bool:
    cells = [cell.strip() for row in csv.reader(lines[1:], delimiter=mark) for cell in row]
    return any(re.fullmatch(r"-?\d+,\d+(e-?\d+)?", cell) for cell in cells) and not any(
        re.fullmatch(r"-?\d+\.\d+", cell) for cell in cells
    )


def json_values(path: Path) -> list[tuple[int, Any]]:
    """Return the JSON values of a file, one or many, each with the line that it begins on."""
    text = text_of(path)
    decoder = json.JSONDecoder()
    values: list[tuple[int, Any]] = []
    at, line, counted = _after_blanks(text, 0), 1, 0
    while at < len(text):
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            place = getattr(error, "pos", at)
            bad = line + text.count("\n", at, place)
            raise InputError(
                f"{path}: cannot be read as {path.suffix[1:] or 'json'} (line {bad}: {error})"
            ) from None
        values.append((line, value))
        at = _after_blanks(text, end)
    return values


def _after_blanks(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def json_document(path: Path) -> Any:
    """Read a whole JSON file; :class:`InputError` if it is none."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, and a JSON file is wanted")
    with reading(path, "json"):
        values = json_values(path)
        if len(values) != 1:
            raise InputError(f"{path}: cannot be read as json (it holds {len(values)} values)")
        return values[0][1]


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, or of one list, with their line numbers."""
    with reading(path, "json"):
        values = json_values(path)
        if len(values) == 1 and isinstance(values[0][1], list):
            values = list(enumerate(values[0][1], start=1))
    for number, value in values:
        if not isinstance(value, dict):
            kind = path.suffix[1:] or "json"
            raise InputError(
                f"{path}: cannot be read as {kind} (line {number}: expected an object, found"
                f" {type(value).__name__})"
            )
        yield number, value


def json_columns(path: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the columns, the metadata and the checksum that a JSON file holds."""
    values = json_values(path)
    if len(values) == 1 and bare_suffix(path) not in _LINES and isinstance(values[0][1], dict):
        return (*_of_object(values[0][1]), "")
    header: dict[str, Any] = {}
    rows = []
    for _, row in json_rows(path):
        if "calbench_metadata" in row:
            header = row
        else:
            rows.append(row)
    metadata = header.get("calbench_metadata", {})
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: its metadata is {type(metadata).__name__}, not an object")
    return _transposed(rows), metadata, str(header.get("calbench_digest", ""))


class Absent:
    """What a row has in a column that it lacks."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


def _transposed(rows: list[Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, ABSENT) for row in rows] for name in names}


def _of_object(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of one object, and what it says about all of them.

    Its lists are columns; a single list of objects is the rows; so are pandas' shapes ("columns",
    "split", "index").
    """
    metadata = {name: value for name, value in content.items() if isinstance(value, str | int | float)}
    if {"columns", "data"} <= content.keys() <= {"columns", "data", "index"}:
        return dict(zip(content["columns"], map(list, zip(*content["data"], strict=True)), strict=True)), {}
    if content and all(isinstance(value, dict) for value in content.values()):
        inner = [*content.values()]
        if all(value.keys() == inner[0].keys() for value in inner):
            if all(key.isdecimal() for key in inner[0]):
                return {name: list(value.values()) for name, value in content.items()}, {}
            return {"index": list(content), **_transposed(inner)}, {}
    lists = {name: value for name, value in content.items() if isinstance(value, list)}
    rows = [v for v in lists.values() if v and all(isinstance(entry, dict) for entry in v)]
    if len(rows) == 1 and all(len(value) != len(rows[0]) for value in lists.values() if value is not rows[0]):
        return dict(_transposed(rows[0])), metadata
    return dict(lists), metadata
