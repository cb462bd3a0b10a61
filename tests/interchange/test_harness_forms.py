"""Logs of lm-evaluation-harness of each version and kind of task."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from calbench import metrics
from calbench.errors import InputError
from calbench.interchange import pair, read, read_lm_eval
from calbench.records import ColumnNames, Predictions, TopLabelPredictions
from tests.interchange.samples import DATE, SCORES, rows, sample, winogrande, write


def test_options_that_stand_in_the_contexts_are_read(tmp_path):
    samples = [winogrande(0, (-3.0, -1.0), 1), winogrande(1, (-3.0, -1.0), 0), winogrande(2, (-1.0, -2.0), 0)]
    record = read_lm_eval(write(tmp_path, "winogrande", samples, accuracy=2 / 3))
    assert record.labels.tolist() == [1, 0, 0]
    assert metrics.evaluate("accuracy", record) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="leave out scoring="):
        read_lm_eval(tmp_path, scoring="per-character")


def test_the_right_answer_of_contexts_may_stand_in_the_document(tmp_path):
    samples = [winogrande(0, (-3.0, -1.0, -2.0), 2), winogrande(1, (-1.0, -3.0, -2.0), 0)]
    path = write(tmp_path, "winogrande", samples, accuracy=None)
    with pytest.raises(InputError, match=r"does not say which option is right; .*label='doc\.NAME'\)"):
        read(path)
    assert read(path, columns=ColumnNames(label="doc.answer", label_start=1)).labels.tolist() == [2, 0]
    with pytest.raises(InputError, match=r"label=...\) is not what it asked for"):
        read(path, columns=ColumnNames(label="doc_id"))


def test_an_indented_array_of_an_early_version_is_read(tmp_path):
    path = tmp_path / "pretrained__org__model_arc_easy.jsonl"
    old = [
        {"doc_id": i, "doc": {}, **{k: v for k, v in r.items() if k != "doc_id"}}
        for i, r in enumerate(rows())
    ]
    for entry in old:
        entry["arguments"] = [[a["arg_0"], a["arg_1"]] for a in entry["arguments"].values()]
    path.write_text(json.dumps(old, indent=2))
    (tmp_path / "results.json").write_text(
        json.dumps({"results": {"easy": {}, "arc_easy": {"acc,none": 2 / 3}}})
    )
    record = read(tmp_path)
    assert record.item_ids.tolist() == ["arc_easy/0", "arc_easy/1", "arc_easy/2"]
    np.testing.assert_allclose(record.logits[0], SCORES[0] + (-np.inf,))
    assert read(path).correct.tolist() == record.correct.tolist() == [True, False, True]


@pytest.mark.parametrize("form", ["json", "jsonl.gz"])
def test_samples_under_another_suffix_are_read(tmp_path, form):
    path = write(tmp_path)
    content = path.read_bytes()
    path.unlink()
    renamed = tmp_path / f"samples_colours_{DATE}.{form}"
    renamed.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    record = read(tmp_path)
    assert record.item_ids[0] == "colours/0"
    assert metrics.evaluate("accuracy", record) == pytest.approx(2 / 3)


def test_items_with_several_right_answers_are_of_the_top_answer(tmp_path):
    samples = [sample(0, SCORES[0], 0), sample(1, SCORES[0], target=0) | {"target": [0, 2], "acc": 1.0}]
    record = read_lm_eval(write(tmp_path, samples=samples, accuracy=1.0))
    assert isinstance(record, TopLabelPredictions)
    assert record.correct.tolist() == [True, True]
    assert record.confidences[0] == pytest.approx(1 / (1 + np.exp(-1) + np.exp(-2)))
    assert record.metadata["notes"] == [
        "1 items have several right answers: only the confidence of each answer is kept"
    ]


def test_what_generates_text_is_left_out_by_name(tmp_path):
    write(tmp_path)
    spoken = [{"doc_id": 0, "target": "Rome", "arguments": [["Q?", {}]], "filtered_resps": ["Rome"]}]
    other = write(tmp_path, "capitals", spoken, accuracy=None)
    record = read(tmp_path)
    assert record.metadata["tasks"] == ["colours"]
    assert record.metadata["notes"] == ["capitals was left out: it is no multiple choice with one pick"]
    with pytest.raises(InputError, match="filtered_resps has no score per option"):
        read(other)


def test_tasks_are_chosen_by_name(tmp_path):
    write(tmp_path, "colours")
    write(tmp_path, "shapes")
    assert read(tmp_path, tasks=("sha*",)).metadata["tasks"] == ["shapes"]
    with pytest.raises(InputError, match=r"no task is like sounds; with tasks= there is colours, shapes"):
        read(tmp_path, tasks=("sounds",))


def test_a_second_filter_is_left_out_by_name(tmp_path):
    samples = [row | {"filter": name} for name in ("none", "strict") for row in rows()]
    record = read_lm_eval(write(tmp_path, samples=samples))
    assert len(record) == 3
    assert record.metadata["notes"] == [
        "colours: samples of the filter strict were left out beside those of none"
    ]


def options(delimiter, **changes):
    """An item of which the second option is best by character, whatever its delimiter."""
    texts = ["no", "certainly not"]
    arguments = {f"a{i}": {"arg_0": "Q?", "arg_1": delimiter + text} for i, text in enumerate(texts)}
    return sample(0, (-2.0, -6.5), 0) | {"arguments": arguments, "acc_norm": 0.0, **changes}


@pytest.mark.parametrize("delimiter", ["", " ", "\n", " = "])
def test_an_option_ends_where_its_delimiter_does(tmp_path, delimiter):
    path = write(tmp_path, samples=[options(delimiter)], accuracy=1.0)
    results = tmp_path / f"results_{DATE}.json"
    content = json.loads(results.read_text()) | {"configs": {"colours": {"target_delimiter": delimiter}}}
    results.write_text(json.dumps(content))
    np.testing.assert_allclose(read(path, scoring="per-character").logits, [[-1.0, -0.5]])


def test_without_results_the_delimiter_is_what_all_options_share(tmp_path):
    path = write(tmp_path, samples=[options("\n")], accuracy=None)
    np.testing.assert_allclose(read(path, scoring="per-character").logits, [[-1.0, -0.5]])
    mixed = options(" ")
    mixed["arguments"]["a1"]["arg_1"] = "certainly not"
    with pytest.raises(InputError, match=r"different blanks.*results_\*\.json"):
        read(write(tmp_path, samples=[mixed], accuracy=None), scoring="per-character")


def hashed(**changes):
    return [row | {"doc_hash": "d" * 64, "prompt_hash": "p" * 64} | changes for row in rows()]


def test_other_items_under_the_same_ids_are_not_compared(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    a = read(write(tmp_path / "a", samples=hashed()))
    b = read(write(tmp_path / "b", samples=hashed(doc_hash="e" * 64)))
    with pytest.raises(InputError, match=r"3 of 3 items have the same id and another content \(doc_hash\)"):
        pair(a, b)


def test_other_prompts_and_shots_are_said(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    records = []
    for name, prompt, shots in (("a", "p", 0), ("b", "q", 5)):
        path = write(tmp_path / name, samples=hashed(prompt_hash=prompt * 64))
        results = tmp_path / name / f"results_{DATE}.json"
        results.write_text(json.dumps(json.loads(results.read_text()) | {"n-shot": {"colours": shots}}))
        records.append(read(path))
    assert list(pair(*records).notes) == [
        "3 items were asked with other prompts (prompt_hash), first 'colours/0'",
        "the models were asked with another shots: {'colours': 0} and {'colours': 5}",
    ]
    assert list(pair(records[0], records[0]).notes) == []


def test_what_each_item_was_survives_an_import(tmp_path):
    record = read(write(tmp_path, samples=hashed()))
    record.write(tmp_path / "x.parquet")
    assert isinstance(again := read(tmp_path / "x.parquet"), Predictions)
    assert again.metadata["item_hashes"] == record.metadata["item_hashes"]


def test_numbered_rows_of_files_of_other_lengths_are_not_paired(tmp_path):
    for n in (3, 4):
        (tmp_path / f"{n}.csv").write_text("confidence,correct\n" + "0.9,1\n" * n)
    records = [read(tmp_path / f"{n}.csv", columns=ColumnNames(row_ids=True)) for n in (3, 4)]
    with pytest.raises(InputError, match="number n is not the same item"):
        pair(*records)
