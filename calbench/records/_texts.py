"""Tables that are text: csv with any separator, and JSON in each of the shapes that tools write."""

from __future__ import annotations

import collections
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calbench.errors import InputError
from calbench.records._content import bare_suffix, reading, text_of, unreadable

Columns = tuple[tuple[str, ...], Mapping[str, Any], Mapping[str, Any]]
_LINES = (".jsonl", ".ndjson", ".jsonlines")
_SPACE = re.compile(r"[ \t\r\n]*")


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Lift the limit of the csv module, which is one for the whole process."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


@_cells_of_any_length()
def csv_table(path: Path, text_columns: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """Return a csv file as an arrow table, and what was skipped; ``text_columns`` stay text.

    Separators may be commas, semicolons, tabs, bars or blanks, and decimals points or commas.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text, comments = _without_comments(text_of(path))
    notes = list[str]()
    if not text.strip():
        raise InputError(f"{path}: is empty; write it again, or give another file")
    lines = text.splitlines()[:50]
    mark = text[4] if re.match(r"sep=.[\r\n]", text) else _separator(lines)  # as Excel writes it
    text = re.sub(r"\Asep=.\s*", "", text)
    if mark == " ":
        text = "\n".join(re.sub(r"[ \t]+", " ", line.strip()) for line in text.splitlines())
    elif any(f"{mark} " in line for line in lines):
        text = _without_blanks(text, mark)
    # Rows without any value, as spreadsheets leave them behind.
    text = re.sub(rf"[\r\n][\s{re.escape(mark)}]*\Z", "\n", text)
    lines = text.splitlines()[:50]
    names, *rows = csv.reader(lines, delimiter=mark)
    if comments and _is_heading(names, comments[-1], mark):
        names = _cells(comments.pop(), mark)
        text = mark.join(names) + "\n" + text
    elif _are_numbered(names, rows):  # as R's write.table does, without a name for the numbers
        text = f"row.names{mark}{text}"
        notes.append("each row begins with its number, for which the first line has no name")
    _check_names(path, names)
    quoted = '"' not in text or _is_quoted(path, text, mark)
    content = text.encode()
    table = arrow_csv.read_csv(
        pa.BufferReader(content),
        # One block: types are inferred from all rows, and a quoted line break may be anywhere.
        read_options=arrow_csv.ReadOptions(block_size=max(len(content) + 1, 2**20), use_threads=False),
        parse_options=arrow_csv.ParseOptions(
            delimiter=mark, newlines_in_values=quoted, quote_char='"' if quoted else False
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in text_columns},
            decimal_point="," if mark != "," and _has_decimal_commas(lines, mark) else ".",
        ),
    )
    if comments:
        notes.append(f"{len(comments)} lines of comment above the names were skipped")
    return _without_empty(path, table), tuple(notes)


def _without_comments(text: str) -> tuple[str, list[str]]:
    """Divide a text from the lines above it that begin with ``#``; below the names such a line is a row."""
    comments = []
    text = text.lstrip("\r\n")
    while text.startswith("#"):
        line, _, rest = text.partition("\n") if "\n" in text else text.partition("\r")
        comments.append(line.strip())
        text = rest.lstrip("\r\n")
    return text, comments


def _cells(comment: str, mark: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([comment.lstrip("# ")], delimiter=mark), [])]


def _is_heading(first: list[str], comment: str, mark: str) -> bool:
    """Whether a comment names the columns, as ``numpy.savetxt`` and many others write them."""
    names = _cells(comment, mark)
    return len(names) == len(first) and any(map(_is_number, first)) and not any(map(_is_number, names))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d*[.,]?\d+(e[+-]?\d+)?", text.strip(), re.IGNORECASE) is not None


def _check_names(path: Path, names: list[str]) -> None:
    """Refuse a first line that is a row, or names that are there twice."""
    numbered = [str(place) for place in range(len(names))]  # as pandas names the columns of an array
    if all(map(_is_number, names)) and names != numbered:
        raise InputError(
            f"{path}: its first line holds numbers ({', '.join(names[:4])}) where the names of columns"
            " belong; write a line of names above it, such as item_id,label,logits_0,logits_1"
        )
    twice = {name for name in names if name and names.count(name) > 1}
    if twice:
        raise InputError(
            f"{path}: two columns have one name ({', '.join(sorted(twice))}); rename one, or write a line of"
            " names above if the first line is a row"
        )


def _without_empty(path: Path, table: Any) -> Any:
    """Leave out columns without a name and without a value, as spreadsheets leave them behind."""
    kept = [
        place
        for place, name in enumerate(table.column_names)
        if name or any(value not in (None, "") for value in table.column(place).to_pylist())
    ]
    if sum(not table.column_names[place] for place in kept) > 1:
        raise InputError(f"{path}: two columns have no name; name them in the first line")
    return table.select(kept)


def _is_quoted(path: Path, text: str, mark: str) -> bool:
    """Whether quotes enclose cells; False where they are part of texts, as in many files with tabs.

    Taken for the beginning of a cell, a lone quote would swallow the rows up to the next one.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        collections.deque(reader, maxlen=0)
    except csv.Error as error:
        if len({line.count(mark) for line in text.splitlines() if line.strip()}) > 1:
            raise unreadable(path, "csv", f"line {reader.line_num}: {error}") from None
        return False
    return True


def _separator(lines: list[str]) -> str:
    """Return what separates columns: what every line has as often as the first, most often."""
    counts = {}
    for mark in ",;\t|":
        widths = [len(row) for row in csv.reader(lines, delimiter=mark) if row]
        if _are_even(widths):
            counts[mark] = widths[0]
    if counts:
        return max(counts, key=lambda mark: counts[mark])
    found = next((mark for mark in "\t;|," if mark in lines[0]), None)
    if found is not None:
        return found
    squeezed = [re.sub(r"[ \t]+", " ", line.strip()) for line in lines if line.strip()]
    return " " if _are_even([len(row) for row in csv.reader(squeezed, delimiter=" ")]) else ","


def _are_even(widths: list[int]) -> bool:
    """Whether all lines have the first one's number of columns, or all one more, the numbers of R's rows."""
    if not widths or widths[0] < 2:
        return False
    others = set(widths[1:-1] or widths[1:])  # the last may be cut inside a quoted text
    return others <= {widths[0]} or others == {widths[0] + 1}


def _are_numbered(names: list[str], rows: list[list[str]]) -> bool:
    """Whether each row begins with its number, for which the first line has no name."""
    return bool(rows) and all(
        len(row) == len(names) + 1 and row[0] == str(number)
        for number, row in enumerate(rows[:-1] or rows, 1)
    )


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
            raise unreadable(path, path.suffix[1:] or "json", f"line {bad}: {error}") from None
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
            raise unreadable(path, "json", f"it holds {len(values)} values, and one is wanted")
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
            found = type(value).__name__
            raise unreadable(path, kind, f"line {number}: expected an object of named values, found {found}")
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
    if {"columns", "data"} <= content.keys() <= {"columns", "data", "index", "ncols", "nrows"}:
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
