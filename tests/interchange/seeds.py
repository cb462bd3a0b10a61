"""One small intact file of each format, to be damaged."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
from pathlib import Path

import numpy as np

from calbench import Predictions
from calbench.records import ColumnNames
from tests.interchange.samples import DATE, winogrande, write
from tests.interchange.samples import rows as harness_rows
from tests.interchange.test_inspect_logs import LOG, log, sample
from tests.records.saved_tokens import kld

RECORD = Predictions(
    [f"item-{i}" for i in range(6)],
    np.random.default_rng(0).normal(size=(6, 3)),
    [0, 1, 2, 0, 1, 2],
    {"model": "m"},
)
CHECKSUMMED = ("parquet", "jsonl", "npz", "safetensors")
FORMATS = (
    *CHECKSUMMED,
    "csv",
    "top-csv",
    "foreign-parquet",
    "json",
    "pt",
    "lm-eval",
    "lm-eval-array",
    "winogrande",
    "inspect-json",
    "inspect-eval",
    "semicolons",
    "csv-gz",
    "csv-bz2",
    "csv-xz",
    "pipeline",
    "utf16",
    "arrow",
    "npy",
    "paths",
    "positive",
    "llama-logits",
)


def intact(name: str, folder: Path) -> tuple[Path, ColumnNames]:
    """Write an intact file of a format."""
    plain = ColumnNames()
    if name in (*CHECKSUMMED, "csv"):
        RECORD.write(folder / f"x.{name}")
        return folder / f"x.{name}", plain
    if name == "top-csv":
        RECORD.to_top_label().write(folder / "x.csv")
        return folder / "x.csv", plain
    if name == "foreign-parquet":
        import pyarrow as pa
        from pyarrow import parquet

        columns = {"item_id": RECORD.item_ids.tolist(), "label": RECORD.labels, "lp": RECORD.logits.tolist()}
        parquet.write_table(pa.table(columns), folder / "x.parquet")
        return folder / "x.parquet", ColumnNames(logits="lp")
    if name == "json":
        content = {
            "model": "m",
            "preds": ["A", "B", "A"],
            "confs": [0.5, 0.75, 1.0],
            "label": ["A", "A", "A"],
        }
        (folder / "x.json").write_text(json.dumps(content))
        return folder / "x.json", ColumnNames(row_ids=True, predicted="preds", confidence="confs")
    if name == "pt":
        import torch

        torch.save((torch.tensor(RECORD.logits), torch.tensor(RECORD.labels)), folder / "x.pt")
        return folder / "x.pt", ColumnNames(row_ids=True)
    if name == "lm-eval":
        return write(folder), plain
    if name in ("lm-eval-array", "winogrande"):
        entries = [harness_rows(), [winogrande(0, (-3.0, -1.0), 1), winogrande(1, (-1.0, -3.0), 1)]]
        path = folder / f"samples_colours_{DATE}.json"
        path.write_text(json.dumps(entries[name == "winogrande"], indent=2))
        return path, plain
    if name in _NEW:
        return _NEW[name](folder)
    if name == "inspect-json":
        return log(folder / "x.json", [sample(), sample("q1", letter="B")]), plain
    return Path(shutil.copy(LOG, folder / "x.eval")), plain


CSV = "id,gold,p\n" + "".join(f"item-{i},{i % 2},{0.5 + i / 20}\n" for i in range(6))
POSITIVE = ColumnNames(item_id="id", label="gold", positive="p")


def _semicolons(folder: Path) -> tuple[Path, ColumnNames]:
    (folder / "x.csv").write_text(CSV.replace(",", ";").replace(".", ","))
    return folder / "x.csv", POSITIVE


def _csv_gz(folder: Path) -> tuple[Path, ColumnNames]:
    (folder / "x.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    return folder / "x.csv.gz", POSITIVE


def _csv_bz2(folder: Path) -> tuple[Path, ColumnNames]:
    (folder / "x.csv.bz2").write_bytes(bz2.compress(CSV.encode()))
    return folder / "x.csv.bz2", POSITIVE


def _csv_xz(folder: Path) -> tuple[Path, ColumnNames]:
    (folder / "x.csv.xz").write_bytes(lzma.compress(CSV.encode()))
    return folder / "x.csv.xz", POSITIVE


def _pipeline(folder: Path) -> tuple[Path, ColumnNames]:
    rows = [
        {"gold": "pos", "votes": [1, 3], "doc": i // 2, "out": [{"label": n, "score": v} for n, v in pair]}
        for i in range(6)
        for pair in [(("pos", 0.75), ("neg", 0.25)) if i % 2 else (("neg", 0.625), ("pos", 0.375))]
    ]
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "x.jsonl", ColumnNames(
        row_ids=True, label="gold", probs="out", cluster_id="doc", label_distribution="votes"
    )


def _utf16(folder: Path) -> tuple[Path, ColumnNames]:
    (folder / "x.tsv").write_bytes(CSV.replace(",", "\t").encode("utf-16"))
    return folder / "x.tsv", POSITIVE


def _positive(folder: Path) -> tuple[Path, ColumnNames]:
    (folder / "x.txt").write_text(CSV)
    return folder / "x.txt", POSITIVE


def _arrow(folder: Path) -> tuple[Path, ColumnNames]:
    import pyarrow as pa

    columns = {"item_id": RECORD.item_ids.tolist(), "label": RECORD.labels, "lp": RECORD.logits.tolist()}
    table = pa.table(columns)
    with pa.OSFile(str(folder / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return folder / "x.arrow", ColumnNames(logits="lp")


def _npy(folder: Path) -> tuple[Path, ColumnNames]:
    kinds = [("label", "i8"), ("logits", "f8", (3,))]
    np.save(folder / "x.npy", np.array(list(zip(RECORD.labels, RECORD.logits, strict=True)), dtype=kinds))
    return folder / "x.npy", ColumnNames(row_ids=True)


def _paths(folder: Path) -> tuple[Path, ColumnNames]:
    rows = [
        {"id": i, "doc": {"gold": "AB"[i % 2]}, "lp": [[{"token": t, "logprob": -1.0 - i} for t in "AB"]]}
        for i in range(4)
    ]
    (folder / "x.ndjson").write_text("\n".join(map(json.dumps, rows)))
    return folder / "x.ndjson", ColumnNames(item_id="id", label="doc.gold", logits="lp[0]")


def _llama(folder: Path) -> tuple[Path, ColumnNames]:
    rng = np.random.default_rng(0)
    kld(folder / "x.kld", rng.normal(size=(2, 3, 6)), rng.integers(0, 6, 16), 8)
    return folder / "x.kld", ColumnNames()


_NEW = {
    "semicolons": _semicolons,
    "csv-gz": _csv_gz,
    "csv-bz2": _csv_bz2,
    "csv-xz": _csv_xz,
    "pipeline": _pipeline,
    "utf16": _utf16,
    "arrow": _arrow,
    "npy": _npy,
    "paths": _paths,
    "positive": _positive,
    "llama-logits": _llama,
}
