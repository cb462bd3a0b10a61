"""One small intact file of each format, to be damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from calbench import Predictions
from calbench.records import ColumnNames
from tests.interchange.samples import write
from tests.interchange.test_inspect_logs import LOG, log, sample

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
    "inspect-json",
    "inspect-eval",
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
    if name == "inspect-json":
        return log(folder / "x.json", [sample(), sample("q1", letter="B")]), plain
    return Path(shutil.copy(LOG, folder / "x.eval")), plain
