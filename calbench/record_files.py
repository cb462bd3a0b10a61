"""Reading and writing :class:`Predictions` as parquet, jsonl, csv, npz and safetensors files."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.predictions import Predictions

Columns = dict[str, Any]
SUFFIXES = (".parquet", ".jsonl", ".csv", ".npz", ".safetensors")


def read_predictions(path: Path, *, item_id: str, label: str, logits: str | Sequence[str]) -> Predictions:
    """See :meth:`calbench.Predictions.read`."""
    reader = _by_suffix(path, _READERS)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        columns, metadata = reader(path, item_id)
        values = _logits(path, columns, logits)
    except InputError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]} ({error})") from error
    ids, labels = _column(path, columns, item_id), _column(path, columns, label)
    try:
        return Predictions(ids, values, labels, metadata)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_predictions(record: Predictions, path: Path) -> None:
    """See :meth:`calbench.Predictions.write`."""
    writer = _by_suffix(path, _WRITERS)
    with replacing(path) as temporary:
        writer(record, temporary)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes it private; give it the mode that a new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _by_suffix(path: Path, table: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    try:
        return table[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path}: unknown format; use one of {', '.join(SUFFIXES)}") from None


def _column(path: Path, columns: Columns, name: str) -> Any:
    try:
        return columns[name]
    except KeyError:
        raise InputError(
            f"{path}: no column {name!r} (it has {', '.join(columns)}); map it by keyword,"
            " as in Predictions.read(path, item_id=..., label=..., logits=...)"
        ) from None


def _logits(path: Path, columns: Columns, names: str | Sequence[str]) -> Any:
    if not isinstance(names, str):
        return np.column_stack([np.asarray(_column(path, columns, name)) for name in names])
    if names not in columns:
        numbered = [f"{names}_{i}" for i in range(len(columns)) if f"{names}_{i}" in columns]
        if numbered:
            return _logits(path, columns, numbered)
    values = _column(path, columns, names)
    if isinstance(values, np.ndarray):
        return values
    rows = [json.loads(row) if isinstance(row, str) else row for row in values]
    for i, row in enumerate(rows):
        if not isinstance(row, list) or any(not isinstance(v, int | float) for v in row):
            raise InputError(f"{path}: row {i}: {names} = {row!r} is not a list of numbers")
    width = max(map(len, rows), default=0)
    return [row + [-np.inf] * (width - len(row)) for row in rows]


def _read_parquet(path: Path, _item_id: str) -> tuple[Columns, dict[str, Any]]:
    from pyarrow import parquet

    return _from_arrow(parquet.read_table(path))


def _read_csv(path: Path, item_id: str) -> tuple[Columns, dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import csv

    # Ids stay text: inferring numbers would turn "007" into 7.
    options = csv.ConvertOptions(column_types={item_id: pa.string()})
    return _from_arrow(csv.read_csv(path, convert_options=options))


def _from_arrow(table: Any) -> tuple[Columns, dict[str, Any]]:
    kept = (table.schema.metadata or {}).get(b"calbench")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return columns, json.loads(kept) if kept else {}


def _read_jsonl(path: Path, _item_id: str) -> tuple[Columns, dict[str, Any]]:
    columns: Columns = {}
    metadata: dict[str, Any] = {}
    n_rows = 0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(  # noqa: TRY004 (bad content, not a wrong argument)
                    f"line {number}: expected an object, found {type(row).__name__}"
                )
            if set(row) == {"calbench_metadata"}:
                metadata = row["calbench_metadata"]
                continue
            if n_rows and row.keys() != columns.keys():
                odd = sorted(row.keys() ^ columns.keys())
                raise ValueError(f"line {number}: its fields differ from line 1's in {odd}")
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
            n_rows += 1
    return columns, metadata


def _read_npz(path: Path, _item_id: str) -> tuple[Columns, dict[str, Any]]:
    # np.load leaves a file that it opened itself open when it cannot read it.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    kept = columns.pop("calbench_metadata", None)
    return columns, json.loads(str(kept)) if kept is not None else {}


def _read_safetensors(path: Path, item_id: str) -> tuple[Columns, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
            header = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    if "item_ids" in header:  # strings cannot be tensors
        columns[item_id] = json.loads(header["item_ids"])
    return columns, json.loads(header.get("calbench", "{}"))


def _metadata(record: Predictions) -> str:
    return json.dumps(dict(record.metadata), sort_keys=True)


def _arrow(record: Predictions) -> Any:
    import pyarrow as pa

    return pa.table(
        {
            "item_id": record.item_ids.tolist(),
            "label": pa.array(record.labels),
            "logits": pa.array(list(record.logits), pa.list_(pa.float32())),
        }
    ).replace_schema_metadata({"calbench": _metadata(record)})


def _write_parquet(record: Predictions, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(_arrow(record), path)


def _write_csv(record: Predictions, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    columns = {"item_id": pa.array(record.item_ids.tolist()), "label": pa.array(record.labels)}
    for k in range(record.n_classes):
        # Written as the shortest text that gives the float32 back.
        columns[f"logits_{k}"] = pa.array([str(v) for v in record.logits[:, k]])
    csv.write_csv(pa.table(columns), path, csv.WriteOptions(quoting_style="needed"))


def _write_jsonl(record: Predictions, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        if record.metadata:
            file.write(json.dumps({"calbench_metadata": dict(record.metadata)}, sort_keys=True) + "\n")
        for item, label, row in zip(record.item_ids, record.labels, record.logits, strict=True):
            # Padding is left out: JSON has no -inf, and the reader pads again.
            values = [float(str(v)) for v in row]
            while values and values[-1] == -np.inf:
                values.pop()
            file.write(json.dumps({"item_id": str(item), "label": int(label), "logits": values}) + "\n")


def _write_npz(record: Predictions, path: Path) -> None:
    np.savez(
        path,
        item_id=record.item_ids,
        label=record.labels,
        logits=record.logits,
        calbench_metadata=np.array(_metadata(record)),
    )


def _write_safetensors(record: Predictions, path: Path) -> None:
    from safetensors.numpy import save_file

    header = {"item_ids": json.dumps(record.item_ids.tolist()), "calbench": _metadata(record)}
    tensors: dict[str, Any] = {
        "logits": np.ascontiguousarray(record.logits),
        "label": np.ascontiguousarray(record.labels),
    }
    save_file(tensors, path, metadata=header)


_READERS = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
_WRITERS = {
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
}
