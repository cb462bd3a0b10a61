"""Rows of csv, jsonl, json and parquet files, each with its place for error messages."""

from __future__ import annotations

import ast
import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calbench.errors import InputError

SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row.

    Parameters
    ----------
    place
        File and line (of a parquet or json file: the row, from 1).
    id
        A name that no other row of the files has: the file's and the row's number. Where two files
        share a name, their folders are part of it.
    values
        What it holds.
    """

    place: str
    id: str
    values: dict[str, Any]

    def get(self, path: str) -> Any:
        """Return what is at a path: ``"stem"``, ``"question.stem"``, ``"choices[].text"`` (of each).

        A list may also be a text that holds it as JSON, as csv files do.

        Raises
        ------
        InputError
            The row has no such column; place and column are named.
        """
        return self._walk(self.values, path.split("."), path)

    def text(self, template: str) -> str:
        """Return a column as text, or a template such as ``"{Title} ({entity})"`` filled."""
        if "{" not in template:
            value = self.get(template)
            if not isinstance(value, str | int | float):
                raise self.error(template, f"is {value!r}; a text is wanted")
            return str(value)
        import re

        return re.sub(r"\{([^{}]+)\}", lambda match: self.text(match[1]), template)

    def sequence(self, path: str) -> list[Any]:
        """Return what is at a path, which must be a list."""
        value = self.get(path)
        if not isinstance(value, list):
            raise self.error(path, f"is {value!r}; a list is wanted")
        return value

    def error(self, column: str, problem: str) -> InputError:
        """Return an error that names the place and the column."""
        return InputError(f"{self.place}: column {column!r} {problem}")

    def _walk(self, value: Any, names: list[str], path: str) -> Any:
        if not names:
            return value
        name, each = names[0].removesuffix("[]"), names[0].endswith("[]")
        # A column may itself be called "a.b".
        if isinstance(value, dict) and path in value:
            return value[path]
        if not isinstance(value, dict) or name not in value:
            known = ", ".join(map(repr, value)) if isinstance(value, dict) else repr(value)
            raise self.error(path, f"is missing; there are {known}")
        if each:
            parts = _list_of(value[name])
            if parts is None:
                raise self.error(path, f"is {value[name]!r}; a list is wanted")
            return [self._walk(part, names[1:], path) for part in parts]
        return self._walk(value[name], names[1:], path)


def _list_of(value: Any) -> list[Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return None
    return value if isinstance(value, list) else None


def read_rows(files: Sequence[Path], *, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of files, in the order of their names.

    Parameters
    ----------
    files
        What to read; the format follows the suffix.
    columns
        Names for the columns of csv files that have no header.

    Raises
    ------
    InputError
        There are no files, or one cannot be read; its line is named.
    """
    if not files:
        raise InputError("there are no files to read")
    readers = {".jsonl": _jsonl, ".json": _json, ".parquet": _parquet}
    names = _names(files)
    for file in sorted(files):
        if file.suffix == ".csv":
            rows = _csv(file, columns)
        elif file.suffix in readers:
            rows = readers[file.suffix](file)
        else:
            raise InputError(f"{file}: unknown format; use one of {', '.join(SUFFIXES)}")
        for number, values in rows:
            yield Row(f"{file}:{number}", f"{names[file]}-{number:06}", values)


def exploded(row: Row, column: str, *, key: str, value: str) -> Iterator[Row]:
    """Yield a row per entry of a column that holds a mapping, with two columns more.

    The mapping may be a JSON object or the text of a Python dict; nothing in it is executed.
    """
    mapping = row.get(column)
    if isinstance(mapping, str):
        try:
            mapping = ast.literal_eval(mapping)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise row.error(column, f"is {mapping!r}; a mapping is wanted") from None
    if not isinstance(mapping, dict):
        raise row.error(column, f"is {mapping!r}; a mapping is wanted")
    for number, (name, held) in enumerate(mapping.items(), start=1):
        yield Row(row.place, f"{row.id}-{number}", {**row.values, key: name, value: held})


def _names(files: Sequence[Path]) -> dict[Path, str]:
    stems = {file: file.stem for file in files}
    if len(set(stems.values())) == len(stems):
        return stems
    folder = os.path.commonpath([file.parent for file in stems])
    return {file: file.relative_to(folder).as_posix() for file in stems}


def _csv(file: Path, columns: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            names = list(columns) if columns else next(reader, [])
            if twice := [name for name in names if names.count(name) > 1]:
                raise InputError(f"{file}:1: two columns are called {twice[0]!r}; rename one")
            for values in reader:
                if not values:
                    continue
                if len(values) != len(names):
                    raise InputError(
                        f"{file}:{reader.line_num}: {len(values)} columns, where there are {len(names)}"
                        f" ({', '.join(names)})"
                    )
                yield reader.line_num, dict(zip(names, values, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{file}:{reader.line_num}: {error}") from None


def _jsonl(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _object(_decoded(line, f"{file}:{number}"), file, number)


def _json(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _decoded(file.read_bytes(), str(file))
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}:{error.lineno}:{error.colno}: {error.msg}") from None
    if not isinstance(rows, list):
        raise InputError(f"{file}: holds a {type(rows).__name__}; a list of objects is wanted")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(f"{file}:{number}: holds a {type(row).__name__}; an object is wanted")
        if "\\u" in text:
            _check_characters(row, f"{file}:{number}")
        yield number, row


def _decoded(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: {error}; save it as UTF-8") from None


def _object(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}:{number}:{error.colno}: {error.msg}") from None
    if not isinstance(row, dict):
        raise InputError(f"{file}:{number}: holds a {type(row).__name__}; an object is wanted")
    if "\\u" in line:
        _check_characters(row, f"{file}:{number}")
    return row


def _check_characters(row: dict[str, Any], place: str) -> None:
    # An escape such as \ud83d, alone, is valid JSON that no file or tokenizer takes.
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise InputError(
            f"{place}: holds {half!r}, half of a character; complete it or take it out"
        ) from None


def _parquet(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(file)
    except pa.ArrowException as error:
        raise InputError(f"{file}: {error}") from None
    yield from enumerate(table.to_pylist(), start=1)
