"""Answers and labels mean the same however they are spelled; what stays ambiguous is refused."""

from __future__ import annotations

import csv
import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, parquet

from calbench import metrics
from calbench.errors import InputError
from calbench.interchange import read
from calbench.records import ColumnNames, Predictions, TopLabelPredictions

ROWS = ColumnNames(row_ids=True)


def table(path, columns):
    """Write columns as the path's suffix says."""
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    kind = path.name.split(".", 1)[1]
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    if kind in ("csv", "tsv", "semicolons.csv", "utf16.csv", "bom.csv", "spaced.csv"):
        mark = {"tsv": "\t", "semicolons.csv": ";"}.get(kind, ",")
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=mark).writerows([names, *rows])
        content = text.getvalue().replace(",", ", ") if kind == "spaced.csv" else text.getvalue()
        encoding = {"utf16.csv": "utf-16", "bom.csv": "utf-8-sig"}.get(kind, "utf-8")
        path.write_bytes(content.encode(encoding))
    elif kind in ("jsonl", "lines.json", "ndjson"):
        path.write_text("\n".join(map(json.dumps, objects)))
    elif kind in ("json", "array.jsonl"):
        path.write_text(json.dumps(objects, indent=2))
    elif kind == "columns.json":
        path.write_text(json.dumps(columns))
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, objects)).encode()))
    elif kind == "parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        feather.write_feather(pa.table(columns), path)
    return path


CONTAINERS = (
    "csv",
    "tsv",
    "semicolons.csv",
    "utf16.csv",
    "bom.csv",
    "spaced.csv",
    "jsonl",
    "ndjson",
    "lines.json",
    "json",
    "array.jsonl",
    "columns.json",
    "jsonl.gz",
    "parquet",
    "feather",
)
NAMES = ("negative", "neutral", "positive")
# Recodings of the classes 0, 1, 2 that keep what they mean.
CODINGS = {
    "numbers": str,
    "integers": int,
    "floats": float,
    "letters": lambda k: "ABC"[k],
    "small letters": lambda k: "abc"[k],
    "brackets": lambda k: f"({'ABC'[k]})",
    "blanks": lambda k: f" {'ABC'[k]}",
    "dots": lambda k: f"{'ABC'[k]}.",
    "enumerated": lambda k: f"LABEL_{k}",
    "lists": lambda k: f"[{k}]",
    "from one": lambda k: k + 1,
}


NUMBERS = {"numbers", "integers", "floats", "enumerated", "lists", "from one"}


def truth_of(confidences, correct):
    """ECE over 15 equal bins, right-closed, by hand."""
    bins = np.clip(np.ceil(np.array(confidences) * 15) - 1, 0, 14)
    gaps = 0.0
    for k in range(15):
        inside = bins == k
        if inside.any():
            gaps += inside.mean() * abs(
                np.mean(np.array(confidences)[inside]) - np.mean(np.array(correct)[inside])
            )
    return gaps


@given(
    st.data(),
    st.sampled_from(sorted(CODINGS)),
    st.sampled_from(sorted(CODINGS)),
    st.sampled_from(CONTAINERS),
)
def test_any_coding_in_any_container_gives_the_same_number(tmp_path_factory, data, said, right, container):
    n = 12
    draw = st.lists(st.integers(0, 2), min_size=n - 3, max_size=n - 3)
    # All classes are among the labels and the answers, so that every coding is evident.
    labels, answers = [0, 1, 2, *data.draw(draw)], [0, 1, 2, *data.draw(draw)]
    confidences = [round(0.4 + 0.05 * k, 2) for k in range(n)]
    path = tmp_path_factory.mktemp("x") / f"x.{container}"
    columns = {
        "predicted": [CODINGS[said](k) for k in answers],
        "label": [CODINGS[right](k) for k in labels],
        "confidence": confidences,
    }
    correct = [a == b for a, b in zip(answers, labels, strict=True)]
    table(path, columns)
    # The closed list of what is refused: numbers from 0 beside numbers from 1.
    if said != right and {said, right} <= NUMBERS and "from one" in (said, right):
        with pytest.raises(InputError, match="counts from 0"):
            read(path, columns=ROWS)
        return
    record = read(path, columns=ROWS)
    assert record.correct.tolist() == correct
    assert metrics.evaluate("ece", record) == pytest.approx(truth_of(confidences, correct), abs=1e-12)


@given(
    st.data(), st.sampled_from([*sorted(CODINGS), "names", "one-hot"]), st.sampled_from(["jsonl", "parquet"])
)
def test_any_coding_of_labels_beside_scores_gives_the_same_number(tmp_path_factory, data, coding, container):
    labels = [0, 1, 2, *data.draw(st.lists(st.integers(0, 2), min_size=7, max_size=7))]
    code = CODINGS | {"names": lambda k: NAMES[k], "one-hot": lambda k: [int(k == j) for j in range(3)]}
    logits = np.random.default_rng(0).normal(size=(10, 3)) * 3
    columns = {"label": [code[coding](k) for k in labels]}
    columns |= {f"score_{name}": logits[:, k].tolist() for k, name in enumerate(NAMES)}
    path = table(tmp_path_factory.mktemp("x") / f"x.{container}", columns)
    names = ColumnNames(row_ids=True, logits=[f"score_{name}" for name in NAMES])
    record = read(path, columns=names)
    assert record.labels.tolist() == labels


def test_a_column_that_mixes_letters_and_numbers_counts_options_from_one(tmp_path):
    path = tmp_path / "arc.csv"
    path.write_text("answerKey,answer,p\nA,A,0.9\nB,B,0.9\n1,A,0.9\n4,D,0.9\nC,C,0.9\n")
    names = ColumnNames(row_ids=True, label="answerKey", predicted="answer", confidence="p")
    record = read(path, columns=names)
    assert record.correct.tolist() == [True] * 5
    assert record.metadata["notes"] == ["label: 2 numbers among letters were read as options counted from 1"]


def test_a_mixture_with_a_nought_has_to_be_declared(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("label,predicted,confidence\nA,A,0.9\n0,A,0.9\n1,B,0.9\n")
    with pytest.raises(InputError, match=r"label mixes letters and numbers, .*label_start=0"):
        read(path, columns=ROWS)
    declared = ColumnNames(row_ids=True, label_start=0)
    assert read(path, columns=declared).correct.tolist() == [True, True, True]


def test_labels_from_one_beside_letters(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("label,predicted,confidence\n1,A,0.9\n2,B,0.9\n3,C,0.9\n4,A,0.9\n")
    assert read(path, columns=ROWS).correct.tolist() == [True, True, True, False]
    path.write_text("label,predicted,confidence\n1,A,0.9\n2,B,0.9\n1,C,0.9\n2,D,0.9\n")
    with pytest.raises(InputError, match=r"label_start=0\) or ColumnNames\(label_start=1"):
        read(path, columns=ROWS)
    declared = ColumnNames(row_ids=True, label_start=1)
    assert read(path, columns=declared).correct.tolist() == [True, True, False, False]


def test_numbers_from_nought_beside_numbers_from_one_are_refused_though_some_are_absent(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("label,predicted,confidence\n" + "3,2,0.9\n1,0,0.9\n" * 3)
    with pytest.raises(InputError, match=r"predicted counts from 0 .* and label from 1 .*label_start=1"):
        read(path, columns=ROWS)
    assert read(path, columns=ColumnNames(row_ids=True, label_start=1)).correct.all()


@pytest.mark.parametrize("answer", ["Answer: B", "B. Paris", "(B) Paris", "The answer is B."])
def test_an_answer_that_is_more_than_a_letter_is_named(tmp_path, answer):
    path = tmp_path / "x.csv"
    path.write_text(f"label,predicted,confidence\nA,A,0.9\nB,{answer},0.9\n")
    with pytest.raises(InputError, match=r"predicted\[1\] = .* holds more than the letter of an option"):
        read(path, columns=ROWS)
    path.write_text("label,predicted,confidence\nA,A,0.9\nB,I do not know,0.9\n")
    assert read(path, columns=ROWS).correct.tolist() == [True, False]


def test_percents_are_divided_where_that_is_said(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("confidence,correct\n90%,1\n80 %,0\n")
    percents = ColumnNames(row_ids=True, percent=True)
    np.testing.assert_allclose(read(path, columns=percents).confidences, [0.9, 0.8])
    path.write_text("label,p\n0,10\n1,90\n")
    with pytest.raises(InputError, match=r"the probability of row 0 is 10, outside .*percent=True"):
        read(path, columns=ColumnNames(row_ids=True, positive="p"))


def test_blanks_around_an_answer_are_no_part_of_it(tmp_path):
    path = tmp_path / "x.csv"
    rows = [
        {"label": "B", "predicted": " B", "confidence": 1.0},
        {"label": "A", "predicted": "A", "confidence": 1.0},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert metrics.evaluate("ece", read(path, columns=ROWS)) == 0


def test_spellings_of_classes_that_recur_are_folded_and_counted(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("label,predicted,confidence\n" + "neg,NEG,0.9\npos,pos,0.9\n" * 3)
    record = read(path, columns=ROWS)
    assert record.correct.all()
    assert record.metadata["notes"] == [
        "1 spellings of classes differ by case or accents only and were read as one"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("1.0", "0.0"),
        ("yes", "no"),
        ("Correct", "Wrong"),
        ("correct", "incorrect"),
        ("True", "False"),
        ("C", "I"),
    ],
)
def test_right_and_wrong_in_many_words(tmp_path, words):
    path = tmp_path / "x.csv"
    path.write_text(f"confidence,correct\n0.9,{words[0]}\n0.8,{words[1]}\n0.7,{words[0]}\n")
    assert read(path, columns=ROWS).correct.tolist() == [True, False, True]


def test_classes_are_named_where_their_columns_are_not(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"label": "ham", "logits": [3, -3]}\n{"label": "spam", "logits": [4, -3]}\n')
    with pytest.raises(InputError, match=r"label\[0\] = 'ham' is no number.*classes="):
        read(path, columns=ROWS)
    record = read(path, columns=ColumnNames(row_ids=True, classes=("ham", "spam")))
    assert record.correct.tolist() == [True, False]
    with pytest.raises(
        InputError, match=r"ColumnNames\(classes=...\) names 3 classes .* and there are 2 columns"
    ):
        read(path, columns=ColumnNames(row_ids=True, classes=("ham", "spam", "eggs")))


@pytest.mark.parametrize("labels", [[[1], [0]], [[0, 1], [1, 0]], [True, False], ["[1]", "[0]"], [1.0, 0.0]])
def test_labels_in_brackets_one_hot_or_of_another_type(tmp_path, labels):
    path = tmp_path / "x.jsonl"
    rows = [{"label": label, "logits": [3, -3]} for label in labels]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read(path, columns=ROWS).labels.tolist() == [1, 0]


# What is impossible for a class vector, or for its maximum.


def binary(path):
    """Write the probability of the positive class beside an answer that is always no."""
    rows = [f"{int(i % 10 == 0)},0,0.1\n" for i in range(40)]
    path.write_text("y_true,y_pred,y_prob\n" + "".join(rows))
    return path


def test_the_probability_of_the_positive_class_is_no_confidence(tmp_path):
    path = binary(tmp_path / "x.csv")
    mapped = {"row_ids": True, "confidence": "y_prob", "predicted": "y_pred", "label": "y_true"}
    with pytest.raises(
        InputError, match=r"y_prob\[0\] = 0.1 is no confidence in the best of 2 classes.*positive='y_prob'"
    ):
        read(path, columns=ColumnNames(**mapped))
    record = read(path, columns=ColumnNames(row_ids=True, positive="y_prob", label="y_true"))
    assert isinstance(record, Predictions)
    # Confidence .9 in "no", right in 36 of 40.
    assert metrics.evaluate("ece", record) == pytest.approx(0, abs=1e-7)
    assert metrics.evaluate("brier", record) == pytest.approx(2 * (0.1 * 0.81 + 0.9 * 0.01), abs=1e-6)
    spoken = ColumnNames(**mapped, confidence_kind="verbalised")
    assert metrics.evaluate("ece", read(path, columns=spoken)) == pytest.approx(0.8)


@given(st.integers(2, 6), st.floats(0.0, 1.0), st.sampled_from(["csv", "parquet", "jsonl"]))
def test_a_confidence_below_one_over_the_classes_is_refused(tmp_path_factory, k, confidence, container):
    labels = [i % k for i in range(4 * k)]
    columns = {"label": labels, "predicted": [0] * len(labels), "confidence": [confidence] * len(labels)}
    path = table(tmp_path_factory.mktemp("x") / f"x.{container}", columns)
    if confidence < 1 / k - 0.005:
        with pytest.raises(InputError, match=f"best of {k} classes"):
            read(path, columns=ROWS)
    else:
        assert len(read(path, columns=ROWS)) == 4 * k


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
@pytest.mark.parametrize("name", ["probs", "logits"])
def test_one_number_a_row_is_of_the_positive_class(tmp_path, shape, name):
    p = np.linspace(0.05, 0.95, 40)
    values = p if name == "probs" else np.log(p / (1 - p))
    np.savez(tmp_path / "x.npz", label=(p > 0.3).astype(int), **{name: values.reshape(shape)})
    record = read(tmp_path / "x.npz", columns=ColumnNames(row_ids=True, **{name: name}))
    np.testing.assert_allclose(record.probs, np.column_stack([1 - p, p]), atol=1e-6)


@given(st.integers(2, 5), st.sampled_from(["shares", "percents", "unnormalised"]), st.integers(0, 3))
def test_probabilities_are_never_taken_as_logits(tmp_path_factory, k, form, seed):
    probs = np.random.default_rng(seed).dirichlet(np.ones(k), size=8)
    values = {"shares": probs, "percents": 100 * probs, "unnormalised": 0.6 * probs}[form]
    rows = [{"label": 0, "lp": row.tolist()} for row in values]
    path = tmp_path_factory.mktemp("x") / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    remedy = {
        "shares": r"probs='lp'\)$",
        "percents": "probs='lp', percent=True",
        "unnormalised": "probs='lp', renormalise=True",
    }
    with pytest.raises(InputError, match=remedy[form]):
        read(path, columns=ColumnNames(row_ids=True, logits="lp"))
    flags = {"percent": form == "percents", "renormalise": form == "unnormalised"}
    record = read(path, columns=ColumnNames(row_ids=True, probs="lp", **flags))
    np.testing.assert_allclose(record.probs, probs, atol=1e-6)


def test_shares_of_a_vocabulary_are_renormalised(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"label": int(i > 0), "p": [0.4, 0.1]} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"probs\[0\] sums to 0.5 .*renormalise=True"):
        read(path, columns=ColumnNames(row_ids=True, probs="p"))
    record = read(path, columns=ColumnNames(row_ids=True, probs="p", renormalise=True))
    assert metrics.evaluate("ece", record) == pytest.approx(0.8 - 0.25)


@given(st.permutations([True, True, False, False, True, False]))
def test_what_is_mapped_is_what_is_used(tmp_path_factory, graded):
    columns = {"label": [0] * 6, "predicted": [1] * 6, "graded": list(graded), "confidence": [1.0] * 6}
    path = table(tmp_path_factory.mktemp("x") / "x.jsonl", columns)
    record = read(path, columns=ColumnNames(row_ids=True, correct="graded"))
    assert record.correct.tolist() == list(graded)
    with pytest.raises(InputError, match=r"no column 'gradd' \(it has .*, 'graded' perhaps\?"):
        read(path, columns=ColumnNames(row_ids=True, correct="gradd"))
    with pytest.raises(InputError, match=r"graded\[\d\] is True, but predicted and label say False"):
        read(path, columns=ColumnNames(row_ids=True, correct="graded", predicted="predicted", label="label"))


@pytest.mark.parametrize(
    ("mapped", "message"),
    [
        ({"logits": "z", "confidence": "c"}, "maps logits, confidence"),
        ({"logits": "z", "probs": "z"}, "maps logits, probs"),
        ({"item_id": "c"}, "contradict each other"),
        ({"renormalise": True}, r"ColumnNames\(renormalise=True\) is of probabilities"),
        ({"percent": True, "logits": "z"}, r"ColumnNames\(percent=True\) is of probabilities"),
        ({"logits": "z", "predicted": "said"}, r"said\[0\] is class 1, but the largest of z is of class 0"),
    ],
)
def test_options_that_contradict_each_other_are_named(tmp_path, mapped, message):
    columns = {"z": [[3.0, -3.0]], "c": [0.5], "label": [0], "said": [1]}
    with pytest.raises(InputError, match=message):
        read(table(tmp_path / "x.jsonl", columns), columns=ColumnNames(row_ids=True, **mapped))


def test_rows_of_two_runs_have_to_be_chosen(tmp_path):
    for name in ("model_name", "seed", "trial", "fold", "split", "quantization", "revision"):
        columns = {name: ["a", "b"], "confidence": [0.9, 0.8], "correct": [True, False]}
        path = table(tmp_path / f"{name}.csv", columns)
        with pytest.raises(InputError, match=rf"mixes 2 values of {name} .*where=.'{name}': 'VALUE'"):
            read(path, columns=ROWS)
        assert len(read(path, columns=ColumnNames(row_ids=True, where={name: "b"}))) == 1
        assert len(read(path, columns=ColumnNames(row_ids=True, where={name: "*"}))) == 2
    columns = {"model_answer": ["a", "b"], "confidence": [0.9, 0.8], "correct": [True, False]}
    assert isinstance(read(table(tmp_path / "x.csv", columns), columns=ROWS), TopLabelPredictions)


PIPELINE = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]]


def pipeline(path, names, labels):
    """Write what a transformers pipeline gives: labels with scores, the best first."""
    rows = [
        {
            "gold": label,
            "out": sorted(
                ({"label": n, "score": v} for n, v in zip(names, row, strict=True)), key=lambda d: -d["score"]
            ),
        }
        for row, label in zip(PIPELINE, labels, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("names", "labels", "more"),
    [
        (["neg", "neutral", "pos"], ["pos", "pos", "neg"], {}),
        (["LABEL_0", "LABEL_1", "LABEL_2"], [2, 2, 0], {}),
        (["pos", "neg", "neutral"], [0, 2, 1], {"classes": ("pos", "neg", "neutral")}),
    ],
)
def test_labels_with_scores_are_read_by_name(tmp_path, names, labels, more):
    path = pipeline(tmp_path / "x.jsonl", names, labels)
    record = read(path, columns=ColumnNames(row_ids=True, probs="out", label="gold", **more))
    at = [names.index(label) if isinstance(label, str) else label for label in labels]
    expected = -np.log([row[place] for row, place in zip(PIPELINE, at, strict=True)]).mean()
    assert metrics.evaluate("nll", record) == pytest.approx(expected, abs=1e-6)


def test_numbers_of_classes_whose_order_nobody_says_are_refused(tmp_path):
    path = pipeline(tmp_path / "x.jsonl", ["pos", "neg", "neutral"], [0, 2, 1])
    with pytest.raises(
        InputError, match=r"name them in different orders .*classes=\('neg', 'neutral', 'pos'\)"
    ):
        read(path, columns=ColumnNames(row_ids=True, probs="out", label="gold"))


def test_spellings_of_one_option_add_up_as_what_they_are(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [
        {"gold": "A", "p": {"A": 0.3, " A": 0.4, "B": 0.3}},
        {"gold": "B", "p": {"A": 0.1, " A": 0.1, "B": 0.8}},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = read(path, columns=ColumnNames(row_ids=True, probs="p", label="gold"))
    assert record.probs[:, 0] == pytest.approx([0.7, 0.2], abs=1e-6)


def test_percents_of_the_positive_class_may_be_written_as_such(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("y,p\n1,80.5%\n0,20%\n")
    names = ColumnNames(row_ids=True, positive="p", label="y", percent=True)
    assert read(path, columns=names).probs[:, 1] == pytest.approx([0.805, 0.2], abs=1e-6)
    with pytest.raises(InputError, match=r"add ColumnNames\(percent=True"):
        read(path, columns=ColumnNames(row_ids=True, positive="p", label="y"))


def test_what_class_columns_share_around_their_names_is_left_out(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("y,P(cat),P(dog)\ndog,0.2,0.8\ncat,0.9,0.1\n")
    record = read(path, columns=ColumnNames(row_ids=True, label="y", probs=("P(cat)", "P(dog)")))
    assert record.labels.tolist() == [1, 0]


def test_a_batch_of_one_item_a_row_is_that_item(tmp_path):
    np.savez(tmp_path / "x.npz", logits=np.array([[[2.0, 1.0]], [[0.5, 3.0]]]), label=[0, 1])
    assert read(tmp_path / "x.npz", columns=ROWS).logits.tolist() == [[2.0, 1.0], [0.5, 3.0]]


@pytest.mark.parametrize("column", ["n_shots", "num_fewshot", "run_name", "temperature", "prompt_template"])
def test_other_settings_of_a_run_are_not_pooled_either(tmp_path, column):
    path = tmp_path / "x.csv"
    path.write_text(f"label,logits_0,logits_1,{column}\n0,1.5,-2,0\n1,0.5,2,5\n")
    with pytest.raises(InputError, match=rf"mixes 2 values of {column} .*where=.'{column}': 'VALUE'"):
        read(path, columns=ROWS)
