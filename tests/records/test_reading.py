"""Records survive every format, and a bad file names itself."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from calbench import Predictions
from calbench.errors import InputError
from calbench.records import SUFFIXES

RECORD = Predictions(
    ["007", 'b,"x"', "é\n"],
    np.array([[0.1, 2.0, -np.inf], [1 / 3, 2e-38, 5.0], [-7.0, 1e30, 0.0]]),
    [1, 2, 0],
    {"model": "m"},
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_is_exact(suffix, tmp_path):
    path = tmp_path / f"record{suffix}"
    RECORD.write(path)
    again = Predictions.read(path)
    assert again.item_ids.tolist() == RECORD.item_ids.tolist()
    assert again.labels.tolist() == RECORD.labels.tolist()
    np.testing.assert_array_equal(again.logits, RECORD.logits)
    if suffix != ".csv":  # which has no place for metadata
        assert dict(again.metadata) == {"model": "m"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_option_that_no_item_has_comes_back(suffix, tmp_path):
    path = tmp_path / f"record{suffix}"
    record = Predictions(["a", "b"], [[1.0, 2.0, -np.inf], [0.0, -np.inf, -np.inf]], [1, 0])
    record.write(path)
    np.testing.assert_array_equal(Predictions.read(path).logits, record.logits)


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("calbench.records._writing._metadata", lambda record: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        RECORD.write(tmp_path / "record.parquet")
    assert list(tmp_path.iterdir()) == []


def test_columns_are_mapped(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"id": i, "gold": 0, "lp": [-1.0, -2.0][: 2 - i % 1]} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    record = Predictions.read(path, item_id="id", label="gold", logits="lp")
    assert record.item_ids.tolist() == ["0", "1", "2"]


def test_one_column_per_class(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("item_id,label,no,yes\n001,1,-1.5,inf\n")
    with pytest.raises(InputError, match=r"x\.csv: logits\[0\]"):
        Predictions.read(path, logits=["no", "yes"])
    path.write_text("item_id,label,no,yes\n001,1,-1.5,0.25\n")
    record = Predictions.read(path, logits=["no", "yes"])
    assert (record.item_ids[0], record.logits.tolist()) == ("001", [[-1.5, 0.25]])


def test_ragged_rows_are_padded(tmp_path):
    path = tmp_path / "x.parquet"
    table = pa.table({"item_id": ["a", "b"], "label": [0, 2], "logits": [[1.0, 2.0], [1.0, 2.0, 3.0]]})
    parquet.write_table(table, path)
    assert Predictions.read(path).logits[0, 2] == -np.inf


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xyz", b"a,b", "unknown format.*rename it"),
        ("x.txt", b"", "is empty"),
        ("x.jsonl", b'{"item_id": 1, "label": 0, "logits": [1, 2]}\n{oops', "line 2"),
        ("x.jsonl", b'{"item_id": 1, "label": 0, "logits": [1, 2]}\n[1]', "line 2: expected an object"),
        (
            "x.jsonl",
            b'{"item_id": 1, "label": 0, "logits": [1, 2]}\n{"item_id": 2}',
            "row 1: 'logits' is missing",
        ),
        ("x.jsonl", b'{"item_id": 1, "label": 0, "logits": [1, "a"]}', "row 0"),
        ("x.jsonl", b'{"item_id": 1, "label": 0, "scores": [1, 2]}', "no column 'logits'"),
        ("x.parquet", b"PAR1 nonsense", "cannot be read as parquet"),
        ("x.npz", b"\x80\x04nonsense", "cannot be read as npz"),
        ("x.npz", b"", "cannot be read as npz"),
        ("x.npz", b"PK\x03\x04 broken", "cannot be read as npz"),
        ("x.csv", b"item_id,label,logits\na,0,0.1 low\n", "row 0: logits = '0.1 low' is not a list"),
        ("x.safetensors", b"\xff" * 32, "cannot be read as safetensors"),
        ("x.csv", b"item_id,label\na,b,c\n", "cannot be read as csv"),
    ],
)
def test_bad_files_are_refused_by_name(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Predictions.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("columns", [("probs_0", "probs_1"), ("p0", "p1"), ("probabilities",)])
def test_columns_of_probabilities_are_recommended_as_such(tmp_path, columns):
    path = tmp_path / "a.csv"
    path.write_text(f"item_id,label,{','.join(columns)}\na,0{',0.5' * len(columns)}\n", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(f"ColumnNames(probs={'+'.join(columns)!r})")):
        Predictions.read(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Predictions.read(tmp_path / "x.csv")


def test_pickled_arrays_are_never_read(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, item_id=np.array(["a", None], dtype=object), label=[0, 0], logits=[[0, 1], [1, 0]])
    with pytest.raises(InputError, match="cannot be read as npz"):
        Predictions.read(path)


def test_an_encrypted_npz_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    RECORD.write(path)
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(mark, at + 1)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"x\.npz.*cannot be read as npz.*is encrypted"):
        Predictions.read(path)
