"""One door for all files."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from calbench import Predictions, TopLabelPredictions, metrics
from calbench.errors import InputError
from calbench.interchange import pair, read
from calbench.records import ColumnNames
from tests.interchange.samples import write

ROWS = ColumnNames(row_ids=True)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "two.jsonl"
    rows = [
        {"item_id": f"i{i}", "model": m, "label": i % 2, "p": [0.25, 0.75]}
        for m in ("a", "b")
        for i in range(4)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_table_of_two_models_is_refused(table):
    with pytest.raises(InputError, match=r"mixes 2 values of model \(a, b\).*where=\{'model': 'VALUE'\}"):
        read(table, columns=ColumnNames(probs="p"))


def test_rows_are_chosen_by_value(table):
    record = read(table, columns=ColumnNames(probs="p", where={"model": "b"}))
    assert len(record) == 4
    with pytest.raises(InputError, match=r"no row has model=c; choose one of a, b"):
        read(table, columns=ColumnNames(probs="p", where={"model": "c"}))


def test_probabilities_that_do_not_sum_to_one_are_refused_by_row(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"item_id": 1, "label": 0, "p": [0.5, 0.5]}\n{"item_id": 2, "label": 0, "p": [0.5, 0.6]}'
    )
    with pytest.raises(InputError, match=r"x\.jsonl: probs\[1\] sums to 1.1"):
        read(path, columns=ColumnNames(probs="p"))


def test_a_file_without_ids_has_to_be_numbered_on_purpose(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("confidence,correct\n0.9,true\n0.8,false\n")
    with pytest.raises(InputError, match="row_ids=True"):
        read(path)
    record = read(path, columns=ROWS)
    assert isinstance(record, TopLabelPredictions)
    assert (record.item_ids.tolist(), record.correct.tolist()) == (["0", "1"], [True, False])


def test_predictions_are_compared_with_answers_from_another_file(tmp_path):
    (tmp_path / "int4.json").write_text(json.dumps({"model": "m", "preds": ["A", "C"], "confs": [0.9, 0.8]}))
    (tmp_path / "gold.csv").write_text("answer\nA\nB\n")
    columns = ColumnNames(row_ids=True, predicted="preds", confidence="confs")
    record = read(tmp_path / "int4.json", columns=columns, answers=tmp_path / "gold.csv")
    assert record.correct.tolist() == [True, False]
    assert record.metadata["model"] == "m"
    assert len(record.metadata["origin"]["files"]) == 2


def test_answers_are_refused_where_only_correctness_is_known(tmp_path):
    (tmp_path / "x.csv").write_text("item_id,confidence,hit\na,0.9,1\nb,0.8,0\n")
    (tmp_path / "gold.csv").write_text("item_id,label\na,0\nb,1\n")
    columns = ColumnNames(correct="hit", confidence="confidence")
    with pytest.raises(InputError, match=r"x\.csv: does not hold what was answered, so .*gold\.csv"):
        read(tmp_path / "x.csv", columns=columns, answers=tmp_path / "gold.csv")
    (tmp_path / "x.csv").write_text("item_id,confidence,correct\na,0.9,1\nb,0.8,0\n")
    with pytest.raises(InputError, match=r"x\.csv: does not hold what was answered"):
        read(tmp_path / "x.csv", answers=tmp_path / "gold.csv")


def test_answers_come_before_a_column_of_correctness_that_nobody_named(tmp_path):
    (tmp_path / "x.csv").write_text("item_id,confidence,predicted,correct\na,0.9,0,1\nb,0.8,0,0\n")
    (tmp_path / "gold.csv").write_text("item_id,label\na,1\nb,0\n")
    assert read(tmp_path / "x.csv", answers=tmp_path / "gold.csv").correct.tolist() == [False, True]
    with pytest.raises(InputError, match=r"and so does ColumnNames\(correct='correct'\); leave out one"):
        read(tmp_path / "x.csv", columns=ColumnNames(correct="correct"), answers=tmp_path / "gold.csv")


@pytest.mark.parametrize(
    "rows",
    [
        "a,0,0.0,0.9\nb,1,,0.8\nc,1,1.0,0.7\n",  # a null makes a column of floats
        "a,0,A,0.9\nb,1,A,0.8\nc,1,B,0.7\n",
        "a,A,0,0.9\nb,B,0,0.8\nc,B,1,0.7\n",
    ],
    ids=["floats", "letters predicted", "letters right"],
)
def test_an_answer_is_right_however_it_is_spelled(tmp_path, rows):
    (tmp_path / "x.csv").write_text(f"item_id,label,predicted,confidence\n{rows}")
    assert read(tmp_path / "x.csv").correct.tolist() == [True, False, True]


@pytest.mark.parametrize("words", [("A", "B"), ("0", "1"), ("négatif", "positif")])
def test_answers_in_other_words_than_the_labels_are_refused(tmp_path, words):
    rows = [f"{i},{words[i % 2]},{('neg', 'pos')[i % 2]},0.9\n" for i in range(6)]
    (tmp_path / "x.csv").write_text("item_id,predicted,label,confidence\n" + "".join(rows))
    with pytest.raises(InputError, match=rf"no answer is a label: .*'{words[0]}', label such as 'neg'"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "rows",
    [
        ["1,0"] * 3 + ["1,2"] * 3,
        ["B,A"] * 3 + ["B,C"] * 3,
        ["neg,pos"] * 6,
        ["Rome,Paris", "Bonn,Oslo"],
        ["maybe,yes", "maybe,no"] * 3,
        ["none,A", "none,B"] * 3,
    ],
    ids=["numbers", "letters", "one label", "open answers", "collapsed", "not understood"],
)
def test_answers_may_all_be_wrong(tmp_path, rows):
    lines = [f"{i},{row},0.9\n" for i, row in enumerate(rows)]
    (tmp_path / "x.csv").write_text("item_id,predicted,label,confidence\n" + "".join(lines))
    assert not read(tmp_path / "x.csv").correct.any()


@pytest.mark.parametrize("label", [None, float("nan"), ""])
def test_an_item_without_a_right_answer_is_named(tmp_path, label):
    rows = [
        {"item_id": "a", "label": 1, "predicted": 1, "confidence": 0.5},
        {"item_id": "b", "label": label, "predicted": label, "confidence": 0.5},
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"x\.jsonl: label\[1\] is missing"):
        read(tmp_path / "x.jsonl")


@pytest.mark.parametrize("columns", ["logits_0,logits_2", "logits_1,logits_2"])
def test_a_class_without_a_column_is_named(tmp_path, columns):
    (tmp_path / "x.csv").write_text(f"item_id,label,{columns}\na,1,0.5,2.0\n")
    with pytest.raises(InputError, match=r"x\.csv: there is no column logits_[01] beside logits_2"):
        read(tmp_path / "x.csv")


def test_more_than_ten_numbered_classes_are_in_their_order(tmp_path):
    names = ",".join(f"logits_{k}" for k in reversed(range(12)))
    (tmp_path / "x.csv").write_text(
        f"item_id,label,{names}\na,11,{','.join(map(str, reversed(range(12))))}\n"
    )
    assert read(tmp_path / "x.csv").logits[0].tolist() == list(range(12))


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_a_single_value_is_of_the_whole_file(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    logits, labels = 2 * np.eye(3, dtype=np.float32), np.arange(3)
    if suffix == "npz":
        np.savez(path, label=labels, logits=logits, model=np.array("llama"))
    else:
        torch = pytest.importorskip("torch")
        arrays = {"label": torch.from_numpy(labels), "logits": torch.from_numpy(logits)}
        torch.save(arrays | {"model": "llama"}, path)
    record = read(path, columns=ROWS)
    assert (len(record), record.metadata["model"]) == (3, "llama")


@pytest.mark.parametrize("rows", ["a,,1,2\nb,1,0,1\n", "a,nan,1,2\nb,1.0,0,1\n"])
def test_a_label_that_is_missing_is_named(tmp_path, rows):
    (tmp_path / "x.csv").write_text(f"item_id,label,logits_0,logits_1\n{rows}")
    with pytest.raises(InputError, match=r"x\.csv: label\[0\] is missing"):
        read(tmp_path / "x.csv")


def test_ids_of_answers_stay_text(tmp_path):
    (tmp_path / "x.csv").write_text("item_id,predicted,confidence\n007,1,0.5\n")
    (tmp_path / "gold.csv").write_text("item_id,gold\n007,1\n")
    assert read(tmp_path / "x.csv", answers=tmp_path / "gold.csv").correct.tolist() == [True]


def test_answers_beside_a_log_are_refused(tmp_path):
    with pytest.raises(InputError, match="leave out answers="):
        read(write(tmp_path), answers=tmp_path / "gold.csv")


def test_two_answers_to_one_item_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("item_id,predicted,confidence\na,1,0.5\n")
    (tmp_path / "gold.csv").write_text("item_id,gold\na,0\na,1\n")
    with pytest.raises(InputError, match=r"gold\.csv: has two answers to 'a'"):
        read(tmp_path / "x.csv", answers=tmp_path / "gold.csv")


def test_answers_are_matched_by_id(tmp_path):
    (tmp_path / "x.csv").write_text("item_id,predicted,confidence\nb,1,0.5\na,0,0.5\n")
    (tmp_path / "gold.csv").write_text("item_id,gold\na,0\nb,0\nc,1\n")
    record = read(
        tmp_path / "x.csv", columns=ColumnNames(predicted="predicted"), answers=tmp_path / "gold.csv"
    )
    assert record.correct.tolist() == [False, True]
    (tmp_path / "gold.csv").write_text("item_id,gold\na,0\n")
    with pytest.raises(InputError, match="no answer to 'b'"):
        read(tmp_path / "x.csv", columns=ColumnNames(predicted="predicted"), answers=tmp_path / "gold.csv")


def test_tensors_are_read_as_data(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pt"
    torch.save((torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([[1], [0]])), path)
    record = read(path, columns=ROWS)
    assert (record.logits.tolist(), record.labels.tolist()) == ([[1.0, 2.0], [3.0, 1.0]], [1, 0])
    torch.save({"z": torch.tensor([[1.0, 2.0]]), "y": torch.tensor([1])}, path)
    assert len(read(path, columns=ColumnNames(row_ids=True, logits="z", label="y"))) == 1


class Trap:
    """What runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return self.marker.touch, ()


@pytest.mark.parametrize("name", ["x.pt", "x.npz", "x.parquet", "x.json"])
def test_a_pickle_posing_as_data_is_refused_and_not_run(tmp_path, name):
    pytest.importorskip("torch")
    marker, path = tmp_path / "ran", tmp_path / name
    path.write_bytes(pickle.dumps(Trap(marker)))
    with pytest.raises(InputError, match=str(path)):
        read(path, columns=ROWS)
    assert not marker.exists()


def test_a_zip_posing_as_a_table_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    np.savez(tmp_path / "x.npz", a=[1])
    path.write_bytes((tmp_path / "x.npz").read_bytes())
    with pytest.raises(InputError, match="no column 'logits'"):  # it is read as what it is
        read(path)


def test_a_folder_is_a_run_of_the_harness(tmp_path):
    write(tmp_path)
    assert read(tmp_path).metadata["origin"]["format"] == "lm-eval"
    with pytest.raises(InputError, match="no columns to map"):
        read(tmp_path, columns=ROWS)


def test_several_tables_are_not_one_record(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("item_id,confidence,correct\na,1,true\n")
    with pytest.raises(InputError, match="two tables are no record"):
        read([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_what_was_imported_keeps_its_origin(tmp_path):
    write(tmp_path)
    record = read(tmp_path)
    record.write(tmp_path / "kept.parquet")
    assert dict(read(tmp_path / "kept.parquet").metadata) == dict(record.metadata)


def test_items_that_only_one_record_has_are_left_out_and_named():
    a = Predictions(["x", "y", "z"], [[1, 0]] * 3, [0, 0, 1])
    b = TopLabelPredictions(["z", "w", "y"], [0.5] * 3, [True, True, False])
    both = pair(a, b)
    assert both.reference.item_ids.tolist() == both.candidate.item_ids.tolist() == ["y", "z"]
    assert list(both.notes) == [
        "1 items are in the reference only and were left out: x",
        "1 items are in the candidate only and were left out: w",
    ]
    with pytest.raises(InputError, match="share no item"):
        pair(a.take(["x"]), b)


@pytest.mark.parametrize(
    ("name", "published"),
    [("probs_resnet110_c10_logits", "0.0475035"), ("probs_densenet40_c100_logits", "0.211563")],
)
def test_published_errors_of_the_standard_networks(shared_data, name, published):
    columns = ColumnNames(row_ids=True, predicted="pred_label", label="true_label")
    record = read(shared_data / "hollance" / f"{name}.csv", columns=columns)
    assert f"{metrics.evaluate('ece', record):.6g}" == published
