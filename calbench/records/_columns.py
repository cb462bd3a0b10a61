"""Files of named columns, read as data and never as code, whatever their names say that they are."""

from __future__ import annotations

import difflib
import io
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.records._content import Kind, bytes_of, kind_of_content, reading
from calbench.records._llama_logits import next_tokens
from calbench.records._paths import split_path, walk
from calbench.records._texts import ABSENT, csv_table, json_columns
from calbench.records._torch_tensors import tensors

# How parts of one table are numbered: 0000.parquet, part-3.csv, train-00000-of-00002.parquet.
_PART = re.compile(r"(?:.*[-_.])?(?:part|shard|chunk)[-_.]?\d+|\d+|.*\d+[-_]of[-_]\d+")

# The column that a plan of items to label has, and no other table.
PLAN = "label_plan"


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
    notes
        What was skipped to read it.
    """

    path: Path
    names: tuple[str, ...]
    load: Callable[[str], Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    notes: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        return name in self.names or split_path(name, self.names) is not None

    def column(self, name: str) -> Any:
        """Return a column, or what is at a path such as ``doc.gold`` or ``choices[].logprob``, by row.

        Raises
        ------
        InputError
            The file has no such column, or a row has nothing there.
        """
        with reading(self.path):
            if name in self.names:
                return _complete(self.load(name), name)
            found = split_path(name, self.names)
            if found is not None:
                root, steps = found
                values = self.load(root)
                rows = values.tolist() if isinstance(values, np.ndarray) else values
                return [walk(value, steps, f"row {row}: {name}") for row, value in enumerate(rows)]
        if not self.names:
            raise InputError(
                f"{self.path}: holds no rows of named values; write it again, or give another file"
            )
        shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
        near = difflib.get_close_matches(name, self.names, n=1)
        meant = f", {near[0]!r} perhaps?" if near else ""
        raise InputError(
            f"{self.path}: no column {name!r} (it has {shown}{meant}); say which column it is,"
            " as in ColumnNames(item_id='id', label='gold', logits='scores')"
        )


def _complete(values: Any, name: str) -> Any:
    if isinstance(values, list) and ABSENT in values:
        raise InputError(f"row {values.index(ABSENT)}: {name!r} is missing; drop the row, or complete it")
    return values


def open_columns(path: Path, *, text_columns: tuple[str, ...] = (), plan: bool = False) -> ColumnFile:
    """Open a file, or a folder of parts of one table, by its content.

    Parameters
    ----------
    path
        The file, or the folder.
    text_columns
        Columns of a csv file that stay text: inferring numbers would turn ``007`` into 7.
    plan
        Whether it may be a plan of items to label, which is no random sample of them.

    Raises
    ------
    InputError
        There is no such file, it is no table, or it is such a plan.
    """
    kind = kind_of_content(path)
    if kind == "folder":
        return _of_folder(path, text_columns)
    if kind not in _READERS:
        raise InputError(f"{path}: is no table; leave out format_='table'")
    name = path.suffix[1:] if kind in ("csv", "json") else kind
    with reading(path, name):
        file = _READERS[kind](path, text_columns)
    if not plan:
        refuse_plan(path, file.names)
    return file


def refuse_plan(path: Path, names: Collection[str]) -> None:
    """Raise :class:`InputError` if a table's columns are those of a plan of which items to label."""
    if PLAN in names:
        raise InputError(
            f"{path}: is a plan of which items to label (it has the column {PLAN!r}): items that two models"
            " answer differently are in it far too often for a random sample; read it with"
            " `calbench label-plan REFERENCE CANDIDATE --judge`"
        )


def joined(paths: Sequence[Path], *, text_columns: tuple[str, ...] = ()) -> ColumnFile:
    """Open the parts of one table, one after another.

    Raises
    ------
    InputError
        They are not named as parts of one table are, one is missing, or their columns differ.
    """
    _refuse_missing_parts(paths)
    if len(paths) == 1:
        return open_columns(paths[0], text_columns=text_columns)
    for path in paths:
        if not _PART.fullmatch(path.name.split(".")[0]):
            raise InputError(
                f"{path}: is not named as a part of a table is (part-0, 00000-of-00002), and two tables are"
                " no"
                " record: give one file, or compare them with calbench compare"
            )
    files = [open_columns(path, text_columns=text_columns) for path in sorted(paths)]
    for file in files[1:]:
        if set(file.names) != set(files[0].names):
            odd = ", ".join(sorted(set(file.names) ^ set(files[0].names)))
            raise InputError(
                f"{file.path}: has not the columns of {files[0].path} (only one has {odd}); name one file"
            )

    def load(name: str) -> Any:
        parts = [file.load(name) for file in files]
        if all(isinstance(part, np.ndarray) for part in parts):
            widths = {part.shape[1:] for part in parts}
            if len(widths) == 1:
                return np.concatenate(parts)
        return [value for part in parts for value in (part.tolist() if hasattr(part, "tolist") else part)]

    return ColumnFile(paths[0].parent, files[0].names, load, files[0].metadata, notes=files[0].notes)


def _refuse_missing_parts(paths: Sequence[Path]) -> None:
    for path in paths:
        found = re.search(r"[-_](\d+)[-_]of[-_](\d+)", path.name)
        if found and len(paths) < int(found[2]):
            everything = path.name.replace(found[0], f"-*-of-{found[2]}")
            raise InputError(
                f"{path}: is one of {int(found[2])} parts of a table, of which {len(paths)} are given; give"
                " all:"
                f" {path.with_name(everything)}"
            )


def _of_folder(path: Path, text_columns: tuple[str, ...]) -> ColumnFile:
    """Open a folder of parts, or what datasets' ``save_to_disk`` wrote."""
    if (path / "dataset_dict.json").is_file():
        splits = sorted(p.name for p in path.iterdir() if p.is_dir())
        raise InputError(f"{path}: holds the splits {', '.join(splits)}; name one, as {path / 'test'}")
    return joined(parts_of(path), text_columns=text_columns)


def parts_of(path: Path) -> list[Path]:
    """Return the files of a folder that holds one table in parts; a file is its own part."""
    if not path.is_dir():
        return [path]
    hidden = (".", "_", "dataset_info", "state")
    parts = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(hidden))
    if not parts:
        folders = ", ".join(sorted(p.name for p in path.iterdir() if p.is_dir())[:5])
        inside = f"; name one of its folders: {folders}" if folders else "; name a file of predictions"
        raise InputError(f"{path}: holds no files{inside}")
    return parts


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
    table, notes = csv_table(path, text)
    return replace(_of_arrow(path, table), notes=notes)


def _read_arrow(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    import pyarrow as pa

    source = pa.BufferReader(bytes_of(path))
    opened = pa.ipc.open_file if bytes_of(path).startswith(b"ARROW1") else pa.ipc.open_stream
    return _of_arrow(path, opened(source).read_all())


def _read_feather(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    from pyarrow import feather

    return _of_arrow(path, feather.read_table(path))


def _of_arrow(path: Path, table: Any) -> ColumnFile:
    table.validate(full=True)  # a damaged offset would be followed out of the buffer
    return ColumnFile(path, tuple(table.column_names), lambda n: _values(table[n], f"{path}: {n}"))


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


def _read_json(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    columns, metadata, digest = json_columns(path)
    return ColumnFile(path, tuple(columns), columns.__getitem__, metadata, digest)


def _read_torch(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    columns, metadata = tensors(path)
    return ColumnFile(path, tuple(columns), columns.__getitem__, metadata)


def _read_llama(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    columns, metadata = next_tokens(path)
    return ColumnFile(path, tuple(columns), columns.__getitem__, metadata)


def _read_npy(path: Path, _text: tuple[str, ...]) -> ColumnFile:
    array = np.load(io.BytesIO(bytes_of(path)), allow_pickle=False)
    if array.dtype.names:  # a structured array is a table
        return ColumnFile(path, tuple(array.dtype.names), array.__getitem__)
    return ColumnFile(path, (path.stem, "logits"), lambda _: array)


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
    for name in ("item_id", "cluster_id"):  # strings cannot be tensors
        if f"{name}s" in header:
            columns[name] = json.loads(header[f"{name}s"])
    metadata = _object(header.get("calbench", "{}"))
    return ColumnFile(path, tuple(columns), columns.__getitem__, metadata, header.get("calbench_digest", ""))


def _object(content: Any) -> dict[str, Any]:
    parsed = json.loads(content) if isinstance(content, str | bytes) else content
    if not isinstance(parsed, dict):
        raise ValueError(f"its metadata is {type(parsed).__name__}, not an object")  # noqa: TRY004
    return parsed


_READERS: dict[Kind, Callable[[Path, tuple[str, ...]], ColumnFile]] = {
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "feather": _read_feather,
    "json": _read_json,
    "csv": _read_csv,
    "llama-logits": _read_llama,
    "npy": _read_npy,
    "npz": _read_npz,
    "safetensors": _read_safetensors,
    "torch": _read_torch,
}
