"""Records to files, each with a checksum of what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calbench.cache import replacing
from calbench.errors import InputError
from calbench.records._predictions import AnyRecord, Predictions, TopLabelPredictions


def by_suffix(path: Path, table: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Return what a table holds for a file's suffix."""
    try:
        return table[path.suffix.lower()]
    except KeyError:
        raise InputError(
            f"{path}: unknown format; name it {', '.join(path.stem + s for s in table)}"
        ) from None


def write_record(record: AnyRecord, path: Path) -> None:
    """See :meth:`calbench.Predictions.write`."""
    writer = by_suffix(path, _WRITERS)
    with replacing(path) as temporary:
        writer(record, temporary)


def digest(record: AnyRecord) -> str:
    """SHA-256 of all that a record holds, metadata included."""
    state = hashlib.sha256("\x00".join(record.item_ids.tolist()).encode(errors="surrogatepass"))
    if isinstance(record, Predictions):
        state.update(record.labels.astype("<i8").tobytes())
        state.update(np.ascontiguousarray(record.logits, dtype="<f4").tobytes())
    else:
        state.update(record.confidences.astype("<f8").tobytes())
        state.update(record.correct.tobytes())
    if record.cluster_ids is not None:
        state.update(b"clusters" + "\x00".join(record.cluster_ids.tolist()).encode(errors="surrogatepass"))
    if isinstance(record, Predictions) and record.label_distribution is not None:
        state.update(b"distribution" + np.ascontiguousarray(record.label_distribution, dtype="<f8").tobytes())
    state.update(_metadata(record).encode())
    return state.hexdigest()


def _metadata(record: AnyRecord) -> str:
    return json.dumps(dict(record.metadata), sort_keys=True)


def _arrow(record: AnyRecord) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = {"item_id": record.item_ids.tolist()}
    if isinstance(record, Predictions):
        flat = pa.array(record.logits.ravel())
        columns["label"] = pa.array(record.labels)
        columns["logits"] = pa.FixedSizeListArray.from_arrays(flat, record.n_classes)
    else:
        columns["confidence"] = pa.array(record.confidences)
        columns["correct"] = pa.array(record.correct)
    columns |= {name: values.tolist() for name, values in _items(record).items()}
    header = {"calbench": _metadata(record), "calbench_digest": digest(record)}
    return pa.table(columns).replace_schema_metadata(header)


def _write_parquet(record: AnyRecord, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(_arrow(record), path, write_page_checksum=True)


def _write_csv(record: AnyRecord, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    columns = {"item_id": pa.array(record.item_ids.tolist())}
    if isinstance(record, Predictions):
        columns["label"] = pa.array(record.labels)
        for k in range(record.n_classes):
            # Written as the shortest text that gives the float32 back.
            columns[f"logits_{k}"] = pa.array([str(v) for v in record.logits[:, k]])
    else:
        columns["confidence"] = pa.array([repr(float(v)) for v in record.confidences])
        columns["correct"] = pa.array(record.correct)
    for name, values in _items(record).items():
        if values.ndim == 1:
            columns[name] = pa.array(values.tolist())
            continue
        columns |= {
            f"{name}_{k}": pa.array([repr(float(v)) for v in values[:, k]]) for k in range(values.shape[1])
        }
    csv.write_csv(pa.table(columns), path, csv.WriteOptions(quoting_style="needed"))


def _write_jsonl(record: AnyRecord, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        header = {"calbench_metadata": dict(record.metadata), "calbench_digest": digest(record)}
        file.write(json.dumps(header, sort_keys=True) + "\n")
        more = _items(record)
        for place, row in enumerate(_json_rows(record)):
            row.update({name: values[place].tolist() for name, values in more.items()})
            file.write(json.dumps(row) + "\n")


def _json_rows(record: AnyRecord) -> Iterator[dict[str, Any]]:
    if isinstance(record, TopLabelPredictions):
        for item, confidence, right in zip(record.item_ids, record.confidences, record.correct, strict=True):
            yield {"item_id": str(item), "confidence": float(confidence), "correct": bool(right)}
        return
    # Padding is left out: JSON has no -inf, and the reader pads again, as far as the longest row goes.
    whole = 0 if np.isfinite(record.logits[:, -1]).any() else record.n_classes
    for item, label, row in zip(record.item_ids, record.labels, record.logits, strict=True):
        values = [float(str(v)) for v in row]
        while len(values) > whole and values[-1] == -np.inf:
            values.pop()
        whole = 0
        yield {"item_id": str(item), "label": int(label), "logits": values}


def _items(record: AnyRecord) -> dict[str, Any]:
    """Return what is known of the items, each where it is known: clusters, label distributions."""
    found: dict[str, Any] = {"cluster_id": record.cluster_ids}
    if isinstance(record, Predictions):
        found["label_distribution"] = record.label_distribution
    return {name: values for name, values in found.items() if values is not None}


def _arrays(record: AnyRecord) -> dict[str, Any]:
    if isinstance(record, Predictions):
        return {"label": record.labels, "logits": record.logits}
    return {"confidence": record.confidences, "correct": record.correct}


def _write_npz(record: AnyRecord, path: Path) -> None:
    header = {"calbench_metadata": _metadata(record), "calbench_digest": digest(record)}
    texts: dict[str, Any] = {name: np.array(text) for name, text in header.items()}
    np.savez(path, item_id=record.item_ids, **_arrays(record), **_items(record), **texts)


def _write_safetensors(record: AnyRecord, path: Path) -> None:
    from safetensors.numpy import save_file

    header = {
        "item_ids": json.dumps(record.item_ids.tolist()),
        "calbench": _metadata(record),
        "calbench_digest": digest(record),
    }
    more = _items(record)
    if (clusters := more.pop("cluster_id", None)) is not None:
        header["cluster_ids"] = json.dumps(clusters.tolist())
    held = {**_arrays(record), **more}
    tensors: dict[str, Any] = {name: np.ascontiguousarray(a) for name, a in held.items()}
    save_file(tensors, path, metadata=header)


_WRITERS = {
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
}
SUFFIXES = tuple(_WRITERS)
