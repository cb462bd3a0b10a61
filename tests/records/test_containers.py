"""A file is what it holds, whatever it is called; what nobody asked for may be odd."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from calbench import metrics
from calbench.errors import InputError
from calbench.interchange import read
from calbench.records import ColumnNames, Predictions, TopLabelPredictions
from tests.records.saved_tokens import kld

ROWS = ColumnNames(row_ids=True)
TOP = {"item_id": ["a", "b", "c"], "confidence": [0.9, 0.8, 0.7], "correct": [True, False, True]}


def check(record):
    assert isinstance(record, TopLabelPredictions)
    assert record.item_ids.tolist() == TOP["item_id"]
    assert record.confidences.tolist() == TOP["confidence"]
    assert record.correct.tolist() == TOP["correct"]


LINES = "\n".join(json.dumps(dict(zip(TOP, row, strict=True))) for row in zip(*TOP.values(), strict=True))
CSV = "item_id,confidence,correct\na,0.9,true\nb,0.8,false\nc,0.7,true\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", LINES.encode()),
        ("x.txt", LINES.encode()),
        ("x.jsonl", json.dumps([json.loads(line) for line in LINES.splitlines()]).encode()),
        (
            "x.json",
            json.dumps({"model": "m", "items": [json.loads(line) for line in LINES.splitlines()]}).encode(),
        ),
        ("x.json", json.dumps({n: {str(i): v for i, v in enumerate(c)} for n, c in TOP.items()}).encode()),
        (
            "x.json",
            json.dumps(
                {"columns": list(TOP), "data": list(map(list, zip(*TOP.values(), strict=True)))}
            ).encode(),
        ),
        ("x.ndjson", b"\xef\xbb\xbf" + LINES.encode()),
        ("x.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("x.csv", CSV.encode("utf-16")),
        ("x.csv", CSV.encode("utf-16-le")),
        ("x.tsv", CSV.replace(",", "\t").encode()),
        ("x.csv", CSV.replace(",", ";").encode()),
        ("x.csv", CSV.replace(",", ";").replace(".", ",").encode()),
        ("x.csv", CSV.replace(",", ", ").encode()),
        ("x.csv", CSV.replace(",", " ").encode()),
        ("x.csv", CSV.replace(",", "   ").encode()),
        ("x.csv", CSV.replace(",", "|").encode()),
        ("x.csv", CSV.replace("\n", "\r\n").encode()),
        ("x.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("x.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("x.parquet.txt", CSV.encode()),
    ],
)
def test_content_is_read_whatever_its_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    check(read(tmp_path / name))


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.data"])
def test_a_parquet_file_is_one_by_any_name(tmp_path, name):
    parquet.write_table(pa.table(TOP), tmp_path / name)
    check(read(tmp_path / name))


def test_arrow_streams_and_files_are_read(tmp_path):
    table = pa.table(TOP)
    for name, new in (("stream.arrow", pa.ipc.new_stream), ("file.arrow", pa.ipc.new_file)):
        with pa.OSFile(str(tmp_path / name), "wb") as sink, new(sink, table.schema) as writer:
            writer.write_table(table)
        check(read(tmp_path / name))


def test_a_folder_that_datasets_saved_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(TOP).save_to_disk(str(tmp_path / "saved"))
    check(read(tmp_path / "saved"))
    both = datasets.DatasetDict({"test": datasets.Dataset.from_dict(TOP)})
    both.save_to_disk(str(tmp_path / "splits"))
    check(read(tmp_path / "splits" / "test"))
    with pytest.raises(InputError, match="holds the splits test; name one"):
        read(tmp_path / "splits")


def test_parts_of_one_table_are_joined_and_none_may_be_missing(tmp_path):
    whole = pa.table(TOP)
    names = [tmp_path / f"test-0000{i}-of-00002.parquet" for i in range(2)]
    parquet.write_table(whole.slice(0, 2), names[0])
    with pytest.raises(InputError, match=r"is one of 2 parts of a table.*test-\*-of-00002\.parquet"):
        read(names[0])
    parquet.write_table(whole.slice(2), names[1])
    check(read(names))
    check(read(tmp_path))
    # Numbered through, not each part from 0.
    assert read(names, columns=ROWS).item_ids.tolist() == ["0", "1", "2"]


def test_two_tables_are_no_parts_of_one(tmp_path):
    for name in ("int4.csv", "int8.csv"):
        (tmp_path / name).write_text(CSV)
    with pytest.raises(InputError, match=r"two tables are no record.*calbench compare"):
        read([tmp_path / "int4.csv", tmp_path / "int8.csv"], columns=ROWS)


def test_a_quoted_text_may_go_on_for_megabytes(tmp_path):
    long = "line\n" * 400_000
    rows = [f'{item},"{long}",{p},{c}\n' for item, p, c in zip(*TOP.values(), strict=True)]
    (tmp_path / "x.csv").write_text("item_id,text,confidence,correct\n" + "".join(rows))
    check(read(tmp_path / "x.csv"))


def test_types_are_inferred_from_all_rows(tmp_path):
    n = 200_000  # more than one of pyarrow's own blocks
    rows = "".join(f"{i},{'1' if i < n - 1 else 'none'},1,0.9\n" for i in range(n))
    (tmp_path / "x.csv").write_text("item_id,predicted,label,confidence\n" + rows)
    assert read(tmp_path / "x.csv").correct.sum() == n - 1


def test_a_field_that_nobody_asked_for_may_be_missing_or_odd(tmp_path):
    rows = [json.loads(line) for line in LINES.splitlines()]
    rows[0]["time"], rows[1]["more"] = "slow", {"a": [1]}
    rows[2]["time"] = 3
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    check(read(tmp_path / "x.jsonl"))
    del rows[1]["confidence"]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"x\.jsonl: row 1: 'confidence' is missing; drop the row"):
        read(tmp_path / "x.jsonl")


def test_lists_that_nobody_asked_for_may_have_other_lengths(tmp_path):
    content = {"confidence": [0.9, 0.8], "correct": [1, 0], "seed": [1], "log": ["a", "b", "c"]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert len(read(tmp_path / "x.json", columns=ROWS)) == 2
    np.savez(tmp_path / "x.npz", confidence=[0.9, 0.8], correct=[1, 0], history=np.arange(7))
    assert len(read(tmp_path / "x.npz", columns=ROWS)) == 2


def test_an_array_alone_is_read_with_answers_beside_it(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[3.0, -1.0], [0.0, 2.0]]))
    (tmp_path / "gold.csv").write_text("label\n0\n0\n")
    record = read(tmp_path / "x.npy", columns=ROWS, answers=tmp_path / "gold.csv")
    assert record.correct.tolist() == [True, False]


def test_float_tensors_of_correctness_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {"confidences": torch.tensor([0.9, 0.8]), "accuracies": torch.tensor([1.0, 0.0])}
    torch.save(tensors, tmp_path / "x.pt")
    names = ColumnNames(row_ids=True, confidence="confidences", correct="accuracies")
    assert read(tmp_path / "x.pt", columns=names).correct.tolist() == [True, False]
    tensors["accuracies"][1] = 0.5
    torch.save(tensors, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"correct\[1\] = '0.5', where right and wrong belong"):
        read(tmp_path / "x.pt", columns=names)


def test_published_figures_of_five_precisions(shared_data):
    pytest.importorskip("torch")
    folder = shared_data / "uncertainty_aware_inference"
    names = ColumnNames(row_ids=True, confidence="confidences", correct="accuracies")
    files = sorted(folder.glob("*.pt"))
    assert len(files) == 15
    for path in files:
        beside = path.with_suffix(".json")
        if not beside.exists():  # one is spelled otherwise there
            beside = folder / "mistral-7b-4bit-gptq-hellaswag.json"
        published = json.loads(beside.read_text())
        record = read(path, columns=names)
        assert metrics.evaluate("ece", record) == pytest.approx(published["ECE"], abs=1e-6)
        assert metrics.evaluate("brier_toplabel", record) == pytest.approx(published["Brier_Score"], abs=1e-6)


# Paths into what rows hold, and scores by name.


def openai(scores):
    top = [{"token": token, "logprob": value, "bytes": None} for token, value in scores.items()]
    first = max(top, key=lambda entry: entry["logprob"])
    return {
        "choices": [{"message": {"content": "A"}, "logprobs": {"content": [first | {"top_logprobs": top}]}}]
    }


def test_responses_of_an_openai_compatible_server_are_read(tmp_path):
    rows = [
        {"id": "a", "gold": "B", "response": openai({"A": -2.0, " B": -0.5, "B": -1.5, "The": -4.0})},
        {"id": "b", "gold": "A", "response": openai({"A": -0.1, "B": -3.0, "C": -4.0})},
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mapped = {
        "item_id": "id",
        "label": "gold",
        "logits": "response.choices[0].logprobs.content[0].top_logprobs",
    }
    record = read(tmp_path / "x.jsonl", columns=ColumnNames(**mapped, classes=("A", "B")))
    np.testing.assert_allclose(record.logits[0], [-2.0, np.logaddexp(-0.5, -1.5)], atol=1e-6)
    assert record.correct.tolist() == [True, True]
    with pytest.raises(InputError, match=r"holds scores of 4 texts .*classes=\('A', 'B', 'C', 'D'\)"):
        read(tmp_path / "x.jsonl", columns=ColumnNames(**mapped))
    with pytest.raises(InputError, match=r"row 0: .* has no score of 'C' .*more top_logprobs"):
        read(tmp_path / "x.jsonl", columns=ColumnNames(**mapped, classes=("A", "B", "C")))


def test_log_probabilities_by_token_id_are_read(tmp_path):
    held = {"32": {"logprob": -0.2, "decoded_token": " A"}, "33": {"logprob": -2.0, "decoded_token": " B"}}
    (tmp_path / "x.json").write_text(json.dumps([{"label": "B", "lp": [held]}]))
    record = read(tmp_path / "x.json", columns=ColumnNames(row_ids=True, logits="lp[0]"))
    np.testing.assert_allclose(record.logits, [[-0.2, -2.0]], atol=1e-6)
    assert record.labels.tolist() == [1]


@pytest.mark.parametrize("container", ["jsonl", "parquet", "csv"])
def test_scores_of_letters_and_lists_of_choices_are_read(tmp_path, container):
    rows = [
        {
            "doc": {"gold_index": 1},
            "scores": {"A": -1.0, "B": -2.0, "C": -3.0},
            "choices": [{"lp": -1.5}, {"lp": -0.5}],
        },
        {
            "doc": {"gold_index": 0},
            "scores": {"A": -1.0, "B": -2.0, "C": None},
            "choices": [{"lp": -0.5}, {"lp": -2.5}],
        },
    ]
    path = tmp_path / f"x.{container}"
    if container == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif container == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        cells = ['"' + json.dumps(v).replace('"', '""') + '"' for row in rows for v in row.values()]
        path.write_text(f"doc,scores,choices\n{','.join(cells[:3])}\n{','.join(cells[3:])}\n")
    names = ColumnNames(row_ids=True, label="doc.gold_index", logits="scores")
    record = read(path, columns=names)
    np.testing.assert_array_equal(record.logits, [[-1.0, -2.0, -3.0], [-1.0, -2.0, -np.inf]])
    names = ColumnNames(row_ids=True, label="doc.gold_index", logits="choices[].lp")
    record = read(path, columns=names)
    assert (record.logits.tolist(), record.labels.tolist()) == ([[-1.5, -0.5], [-0.5, -2.5]], [1, 0])


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text(
        '{"doc": {"gold": 1}, "logits": [3, -1]}\n{"doc": {}, "logits": [3, -1]}'
    )
    for path, message in (
        ("doc.gold", r"row 1: doc.gold: 'gold' is missing"),
        ("doc.gold[0]", r"row 0: doc.gold\[0\]: 1 is no list"),
        ("doc[x]", r"cannot read 'doc\[x\]' from '\[x\]' on"),
        ("dock.gold", "no column 'dock.gold'"),
    ):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "x.jsonl", columns=ColumnNames(row_ids=True, label=path))


@pytest.mark.parametrize(
    "form", ["[0.25 0.75]", "[0.25, 0.75]", "tensor([0.2500, 0.7500])", "array([0.25, 0.75])"]
)
def test_vectors_that_were_printed_are_read(tmp_path, form):
    (tmp_path / "x.csv").write_text(f'label,p\n1,"{form}"\n')
    record = read(tmp_path / "x.csv", columns=ColumnNames(row_ids=True, probs="p"))
    np.testing.assert_allclose(record.probs, [[0.25, 0.75]], atol=1e-7)


def test_class_columns_name_their_classes(tmp_path):
    (tmp_path / "x.csv").write_text("y,p_neg,p_neu,p_pos\nneg,0.7,0.2,0.1\nPOS,0.7,0.2,0.1\n")
    for probs in (["p_neg", "p_neu", "p_pos"], "p_*"):
        record = read(tmp_path / "x.csv", columns=ColumnNames(row_ids=True, label="y", probs=probs))
        assert isinstance(record, Predictions)
        assert record.labels.tolist() == [0, 2]


@pytest.mark.parametrize("n_vocab", [6, 7])
def test_tokens_that_llama_perplexity_saved_are_read(tmp_path, n_vocab):
    rng = np.random.default_rng(0)
    n_context, n_chunks = 8, 3
    tokens = rng.integers(0, n_vocab, n_context * n_chunks)
    logits = 3 * rng.normal(
        size=(n_chunks, 3, n_vocab)
    )  # the 5th to 7th token of each chunk predict the next
    kld(tmp_path / "base.kld", logits, tokens, n_context)
    record = read(tmp_path / "base.kld")
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(record.confidences, probs.max(axis=-1).ravel(), atol=2e-4)
    came = tokens.reshape(n_chunks, n_context)[:, 5:]
    assert record.correct.tolist() == (probs.argmax(axis=-1) == came).ravel().tolist()
    content = (tmp_path / "base.kld").read_bytes()
    (tmp_path / "base.kld").write_bytes(content[:-1])
    with pytest.raises(InputError, match="was cut off"):
        read(tmp_path / "base.kld")


@pytest.mark.parametrize(("suffix", "packed"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_bzip2_and_xz_are_unpacked(tmp_path, suffix, packed):
    rows = [{"item_id": str(i), "label": i % 2, "logits": [float(i), 1.5]} for i in range(8)]
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(packed("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert Predictions.read(path).logits[:, 0].tolist() == list(range(8))


def test_json_is_read_whatever_its_name(tmp_path):
    path = tmp_path / "x.dat"
    path.write_text(json.dumps([{"item_id": "a", "label": 0, "logits": [2.0, 1.5]}]))
    assert Predictions.read(path).labels.tolist() == [0]


def test_an_archive_of_other_files_is_named_as_such(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("x.csv", "y.csv"):
            archive.writestr(name, "item_id,label\n")
    with pytest.raises(InputError, match=r"zip archive of other files \(x\.csv, y\.csv\); unpack it"):
        Predictions.read(tmp_path / "x.zip")
