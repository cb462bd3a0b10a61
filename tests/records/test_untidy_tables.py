"""Tables as spreadsheets, R and servers leave them: read where clear, else refused with a way out."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from calbench import Predictions
from calbench.errors import InputError
from calbench.interchange import read
from calbench.records import ColumnNames

N = 12
RNG = np.random.default_rng(5)
CONFIDENCE = RNG.uniform(0.5, 1, N).round(3)
CORRECT = RNG.random(N) < CONFIDENCE
ROWS = [f"{c},{int(right)}" for c, right in zip(CONFIDENCE, CORRECT, strict=True)]
NAMED = ColumnNames(row_ids=True, confidence="conf", correct="hit")


def numbered(mark):
    """A table as R's write.table writes it: rows have numbers, for which the first line has no name."""
    rows = [mark.join([f'"{n}"', *row.split(",")]) for n, row in enumerate(ROWS, 1)]
    return "\n".join([mark.join(['"conf"', '"hit"']), *rows]) + "\n"


def lines(heading, rows=ROWS):
    return "\n".join([heading, *rows]) + "\n"


CONTENTS = {
    "comments": lines("# written by hand\n# in two lines\nconf,hit"),
    "a comment that names the columns": lines("# conf,hit"),
    "numpy.savetxt": lines("# conf hit", [row.replace(",", " ") for row in ROWS]),
    "R's write.table": numbered(" "),
    "R's write.table with tabs": numbered("\t"),
    "Excel's separator": lines("sep=;\nconf;hit", [r.replace(",", ";").replace(".", ",") for r in ROWS]),
    "empty columns and rows": lines("conf,hit,,", [f"{row},," for row in ROWS]) + ",,,\n,,,\n",
    "a trailing separator": lines("conf,hit", [f"{row}," for row in ROWS]),
    "German words": lines("conf;hit", [r.replace(",1", ";WAHR").replace(",0", ";FALSCH") for r in ROWS]),
    "quotes that are none": lines("text\tconf\thit", ['"he said\t' + r.replace(",", "\t") for r in ROWS]),
    "a very long cell": lines(
        "text, conf, hit", [f"{'x' * 200_000}, {ROWS[0]}", *(f"x, {r}" for r in ROWS[1:])]
    ),
    "texts that begin with a hash": lines("text,conf,hit", [f"#happy,{row}" for row in ROWS]),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_table_is_read_as_it_was_left(tmp_path, content):
    (tmp_path / "x.csv").write_text(CONTENTS[content])
    if content == "a trailing separator":  # which column has no name is not evident
        with pytest.raises(InputError, match="mend that line"):
            read(tmp_path / "x.csv", columns=NAMED)
        return
    record = read(tmp_path / "x.csv", columns=NAMED)
    np.testing.assert_array_equal(record.confidences, CONFIDENCE)
    np.testing.assert_array_equal(record.correct, CORRECT)


def test_skipped_comments_are_counted(tmp_path):
    (tmp_path / "x.csv").write_text(CONTENTS["comments"])
    notes = read(tmp_path / "x.csv", columns=NAMED).metadata["notes"]
    assert notes == ["2 lines of comment above the names were skipped"]


@pytest.mark.parametrize("packing", ["zip", "zst"])
def test_other_packings_of_a_table_are_read(tmp_path, packing):
    content, path = lines("conf,hit").encode(), tmp_path / f"x.csv.{packing}"
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.csv", content)
    else:
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(content)
    np.testing.assert_array_equal(read(path, columns=NAMED).confidences, CONFIDENCE)


def test_percents_with_decimal_commas_are_read(tmp_path):
    rows = [
        f"{100 * c:.1f} %;{int(hit)}".replace(".", ",") for c, hit in zip(CONFIDENCE, CORRECT, strict=True)
    ]
    (tmp_path / "x.csv").write_text(lines("conf;hit", rows))
    named = ColumnNames(row_ids=True, confidence="conf", correct="hit", percent=True)
    np.testing.assert_allclose(read(tmp_path / "x.csv", columns=named).confidences, CONFIDENCE)


@pytest.mark.parametrize(
    "form",
    [
        lambda row: " ".join(map(str, row)),
        lambda row: [str(value) for value in row],
        lambda row: repr(dict(zip("abc", row, strict=True))),
    ],
)
def test_vectors_in_other_spellings_are_read(tmp_path, form):
    scores, labels = RNG.normal(size=(N, 3)).round(4), RNG.integers(0, 3, N)
    rows = [{"y": int(y), "z": form(row.tolist())} for y, row in zip(labels, scores, strict=True)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = read(tmp_path / "x.jsonl", columns=ColumnNames(row_ids=True, label="y", logits="z"))
    np.testing.assert_allclose(record.logits, scores, rtol=1e-6)


def test_a_letter_is_an_option_whatever_a_token_has_around_it(tmp_path):
    scores, labels = RNG.normal(size=(N, 2)), RNG.integers(0, 2, N)
    rows = [
        {"y": "AB"[y], "top": [{"token": f"{x})", "logprob": v} for x, v in zip("AB", row, strict=True)]}
        for y, row in zip(labels, scores.tolist(), strict=True)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = read(tmp_path / "x.jsonl", columns=ColumnNames(row_ids=True, label="y", logits="top"))
    np.testing.assert_allclose(record.logits, scores, rtol=1e-6)


def test_blank_tokens_are_no_options(tmp_path):
    top = [{"token": token, "logprob": -1.0} for token in ("A", "B", "\n")]
    (tmp_path / "x.jsonl").write_text(json.dumps({"y": "A", "top": top}) + "\n")
    with pytest.raises(InputError, match=r"name those that are options with ColumnNames\(classes="):
        read(tmp_path / "x.jsonl", columns=ColumnNames(row_ids=True, label="y", logits="top"))


def test_batches_of_tensors_are_joined(tmp_path):
    torch = pytest.importorskip("torch")
    scores, labels = RNG.normal(size=(N, 3)), RNG.integers(0, 3, N)
    batches = [
        {"logits": torch.tensor(scores[i : i + 5]), "label": torch.tensor(labels[i : i + 5])}
        for i in (0, 5, 10)
    ]
    torch.save(batches, tmp_path / "x.pt")
    record = read(tmp_path / "x.pt", columns=ColumnNames(row_ids=True))
    assert isinstance(record, Predictions)
    np.testing.assert_allclose(record.logits, scores, rtol=1e-6)
    assert record.labels.tolist() == labels.tolist()


def workbook():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
    return content.getvalue()


def objects():
    content = io.BytesIO()
    np.save(content, np.array([{}], dtype=object), allow_pickle=True)
    return content.getvalue()


BROKEN = {
    "rows.csv": (lines("conf,hit") + "0.5,1,2\n", "Expected 2 columns, got 3.*mend that line"),
    "quote.csv": (
        lines("conf,hit,text", [f'{r},"a"b' for r in ROWS[:2]] + ["0.5,1,a,b"]),
        "line 2.*mend that line",
    ),
    "numbers.csv": ("\n".join(ROWS), "first line holds numbers .* write a line of names above"),
    "only.csv": ("conf,hit\n", "holds no rows"),
    "list.json": ("[]", "holds no rows"),
    "x.jsonl": ('{"conf": 1,\n', "line 2: .*write one JSON object a line"),
    "rows.json": ("[[0.5, 1]]", "expected an object .*write one JSON object a line"),
    "x.parquet": ("PAR1 and no more", "write it again, or as csv"),
    "x.csv.gz": (b"\x1f\x8b\x08 and no more", "write it again, or as csv"),
    "x.npz": ("no archive", "never unpickles.*save arrays of numbers and texts, or write csv"),
    "x.npy": (objects(), "never unpickles.*save arrays of numbers and texts, or write csv"),
    "x.arrow": ("ARROW1 and no more", "write it again, or as csv"),
    "x.safetensors": ("no tensors at all", "write it again, or as csv"),
    "x.xlsx": (workbook(), "save its sheet as csv"),
    "x.xls": ("anything", "save its sheet as csv"),
    "x.h5": ("\x89HDF", "write its columns as csv"),
    "latin.csv": ("conf,hit,who\n0.5,1,Jos\xe9\n".encode("latin-1"), "is not UTF-8 .*save it as UTF-8"),
    "logs.csv": (lines("conf,hit", ["-0.5,1", "-0.1,0"]), "of log-probabilities write exp"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_says_what_to_do(tmp_path, name):
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"(?s){name}.*{message}"):
        read(tmp_path / name, columns=NAMED)
