"""Files of named columns (parquet, jsonl, json, csv, npz, safetensors), read as data and never as code."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import InputError

# What parsers raise on content that they cannot make sense of.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # of an encrypted zip, or one packed in a way that zipfile does not know
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


@dataclass(frozen=True, eq=False)
class ColumnFile:
    """The columns of one file, each converted when it is asked for.

    Attributes
    ----------
    path
        The file, for messages.
    names
        Of the columns, in the file's order.
    load
        Gives one column by name: an array, or a list of Python values.
    metadata
        What the file says about itself.
    digest
        SHA-256 of the record that calbench wrote there; ``""`` in anybody else's file.
    """

    path: Path
    names: tuple[str, ...]
    load: Callable[[str], Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def column(self, name: str) -> Any:
        """Return a column; :class:`InputError` if the file has none of that name."""
        if name not in self.names:
            shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            raise InputError(
                f"{self.path}: no column {name!r} (it has {shown}); map it by keyword, as in"
                " Predictions.read(path, item_id=..., label=..., logits=...), or with --columns"
            )
        with reading(self.path):
            return self.load(name)


@contextmanager
def reading(path: Path, kind: str = "") -> Iterator[None]:
    """Turn whatever a parser raises about a file's content into an :class:`InputError`."""
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        kind = kind or path.suffix[1:]
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{path}: cannot be read as {kind} ({text})") from error


def open_columns(path: Path, *, text_columns: tuple[str, ...] = ()) -> ColumnFile:
    """Open a file by its suffix.

    Parameters
    ----------
    path
        The file.
    text_columns
        Columns of a csv file that stay text: inferring numbers would turn ``007`` into 7.

    Raises
    ------
    InputError
        There is no such file, its suffix is unknown, or its content does not fit the suffix.
    """
    reader = by_suffix(path, _READERS)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with reading(path):
        opened: ColumnFile = reader(path, text_columns)
    return opened


def by_suffix(path: Path, table: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Return what a table holds for a file's suffix."""
    try:
        return table[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path}: unknown format; use one of {', '.join(table)}") from None


def json_document(path: Path) -> Any:
    """Read a whole JSON file; :class:`InputError` if it is none."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, and a JSON file is wanted")
    with reading(path, "json"):
        return json.loads(path.read_text(encoding="utf-8"))


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON-lines file with their line numbers; blank lines are left out."""
    with reading(path, "jsonl"), path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: cannot be read as jsonl (line {number}: {error})") from None
            if not isinstance(row, dict):
                raise InputError(
                    f"{path}: cannot be read as jsonl (line {number}: expected an object, found"
                    f" {type(row).__name__})"
                )
            yield number, row


def _read_parquet(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    from pyarrow import parquet

    schema = parquet.read_schema(path)
    kept = schema.metadata or {}

    def load(name: str) -> Any:
        table = parquet.read_table(path, columns=[name], page_checksum_verification=True)
        return _values(table[name], f"{path}: {name}")

    return ColumnFile(
        path,
        tuple(schema.names),
        load,
        _object(kept.get(b"calbench", b"{}")),
        kept.get(b"calbench_digest", b"").decode(),
    )


def _read_csv(path: Path, text: tuple[str, ...]) -> ColumnFile:
    import pyarrow as pa
    from pyarrow import csv

    _refuse_other_separators(path)
    options = csv.ConvertOptions(column_types={name: pa.string() for name in text})
    table = csv.read_csv(path, convert_options=options)
    names = tuple(table.column_names)
    if len(set(names)) != len(names):
        raise InputError(f"{path}: two columns have one name ({', '.join(names)}); rename one")
    return ColumnFile(path, names, lambda name: _values(table[name], f"{path}: {name}"))


def _refuse_other_separators(path: Path) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline()
    found = next((mark for mark in ";\t|" if mark in header and "," not in header), None)
    if found:
        shown = "tabs" if found == "\t" else repr(found)
        raise InputError(
            f"{path}: its columns are separated by {shown}; write it with commas between columns, and points"
            " in numbers"
        )


def _values(column: Any, where: str) -> Any:
    """Return an arrow column as an array, ``(n,)`` or ``(n, k)``, or as Python values."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and _is_number(pa, kind.value_type):
        return _lists(column, where)
    if column.null_count == 0 and (_is_number(pa, kind) or pa.types.is_boolean(kind)):
        return column.to_numpy()
    return column.to_pylist()


def _is_number(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _lists(column: Any, where: str) -> Any:
    """Return lists of numbers as ``(n, k)``, the short ones padded with -inf, without a Python loop."""
    import pyarrow.compute as pc

    if column.null_count:
        raise InputError(f"{where}[{pc.index(column.is_null(), value=True).as_py()}] is null; drop the row")
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    flat = pc.list_flatten(column)
    if flat.null_count:
        place = pc.index(flat.is_null(), value=True).as_py()
        row = int(np.searchsorted(np.cumsum(lengths), place, side="right"))
        raise InputError(f"{where}[{row}] holds a null; drop the row")
    values = flat.to_numpy()
    width = int(lengths.max(initial=0))
    if (lengths == width).all():
        return values.reshape(len(lengths), width)
    padded = np.full((len(lengths), width), -np.inf)
    padded[np.arange(width) < lengths[:, None]] = values
    return padded


def _read_jsonl(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    columns: dict[str, list[Any]] = {}
    header: dict[str, Any] = {}
    n_rows = 0
    for number, row in json_lines(path):
        if "calbench_metadata" in row:
            header = row
            continue
        if n_rows and row.keys() != columns.keys():
            odd = sorted(row.keys() ^ columns.keys())
            raise InputError(
                f"{path}: cannot be read as jsonl (line {number}: its fields differ from the first line's"
                f" in {odd})"
            )
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        n_rows += 1
    metadata = _object(header.get("calbench_metadata", {}))
    return ColumnFile(
        path, tuple(columns), columns.__getitem__, metadata, str(header.get("calbench_digest", ""))
    )


def _read_json(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    """Read a list of objects, or an object whose lists are the columns; the rest describes them."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, list):
        rows = [row for row in content if isinstance(row, dict)]
        if len(rows) != len(content) or any(row.keys() != rows[0].keys() for row in rows):
            raise InputError(f"{path}: a list must hold objects that all have the same fields")
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return ColumnFile(path, tuple(columns), columns.__getitem__)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object or a list, found {type(content).__name__}")
    columns = {name: value for name, value in content.items() if isinstance(value, list)}
    lengths = {name: len(value) for name, value in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: its lists differ in length ({lengths})")
    metadata = {name: value for name, value in content.items() if isinstance(value, str | int | float)}
    return ColumnFile(path, tuple(columns), columns.__getitem__, metadata)


def _read_npz(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    # np.load leaves a file that it opened itself open when it cannot read it.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    ours = _object(str(columns.pop("calbench_metadata", "{}")))
    digest = str(columns.pop("calbench_digest", ""))
    # A single value, such as the model's name, is of the whole file.
    single = {name: columns.pop(name).item() for name in tuple(columns) if columns[name].ndim == 0}
    metadata = {name: value for name, value in single.items() if isinstance(value, str | int | float)} | ours
    return ColumnFile(path, tuple(columns), columns.__getitem__, metadata, digest)


def _read_safetensors(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    from safetensors import SafetensorError, safe_open

    columns: dict[str, Any] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
            header = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    if "item_ids" in header:  # strings cannot be tensors
        columns["item_id"] = json.loads(header["item_ids"])
    metadata = _object(header.get("calbench", "{}"))
    return ColumnFile(path, tuple(columns), columns.__getitem__, metadata, header.get("calbench_digest", ""))


def _object(content: Any) -> dict[str, Any]:
    parsed = json.loads(content) if isinstance(content, str | bytes) else content
    if not isinstance(parsed, dict):
        raise ValueError(f"its metadata is {type(parsed).__name__}, not an object")  # noqa: TRY004
    return parsed


_READERS = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
