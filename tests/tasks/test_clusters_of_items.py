"""Clusters and label distributions of items, from the declaration to the record and its splits."""

from __future__ import annotations

import json

import numpy as np
import pytest

import calbench
from calbench import Predictions, metrics, tasks
from calbench.errors import InputError, LeakageError
from calbench.gates import FittedSplit, split_items
from calbench.records import ColumnNames, TopLabelPredictions, read_record
from calbench.statistics import resamples_for
from calbench.tasks import Dataset, Item, near_duplicates

ITEMS = [Item(f"i{n:03}", f"text {n}", n % 2, cluster=f"p{n // 4}") for n in range(100)]
OF = {item.id: item.cluster for item in ITEMS}


def _vectors(n=100, **more):
    rng = np.random.default_rng(0)
    return Predictions([f"i{i:03}" for i in range(n)], rng.normal(size=(n, 2)), rng.integers(0, 2, n), **more)


def _whole(part):
    inside = {OF[item] for item in part}
    return {item for item, cluster in OF.items() if cluster in inside} == set(part)


@pytest.mark.parametrize("seed", [1, 2, 42])
@pytest.mark.parametrize("n_calibration", [1, 37, 99, None])
def test_a_split_divides_no_cluster(seed, n_calibration):
    split = split_items(list(OF), n_calibration=n_calibration, seed=seed, clusters=OF)
    assert _whole(split.calibration)
    assert _whole(split.test)
    assert abs(len(split.calibration) - (n_calibration or 40)) <= 4
    assert split.calibration
    assert split.test


def test_parts_of_a_task_divide_no_cluster():
    partition = Dataset.of(ITEMS, 2, source="t").partition(n_training=5, n_quantization=6)
    parts = (partition.training, partition.quantization, partition.evaluation)
    assert all(_whole([item.id for item in part]) for part in parts)
    assert [len(part) for part in parts] == [8, 4, 88]


def test_one_cluster_cannot_be_divided():
    with pytest.raises(InputError, match="all 3 items are of the cluster 'x'"):
        split_items(["a", "b", "c"], clusters=dict.fromkeys("abc", "x"))


def test_a_column_names_the_clusters_of_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    rows = [{"text": f"w{i}", "label": "ab"[i % 2], "passage": {"id": i // 3}} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = tasks.get(f"{tmp_path / 't.jsonl'}[cluster=passage.id]")
    assert [item.cluster for item in task.dataset.items[:4]] == ["0", "0", "0", "1"]
    whole = tasks.get(f"{tmp_path / 't.jsonl'}[cluster=passage]")
    assert whole.dataset.items[0].cluster == '{"id": 0}'
    with pytest.raises(InputError, match="'passag' is missing; did you mean 'passage'"):
        _ = tasks.get(f"{tmp_path / 't.jsonl'}[cluster=passag]").dataset


def test_an_empty_cluster_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    (tmp_path / "e.csv").write_text(
        "text,label,c\n" + "".join(f"w{i},{i % 2},{'x' * (i < 9)}\n" for i in range(20))
    )
    with pytest.raises(InputError, match=r"row 10: column 'c' is ''; give every row the name of its cluster"):
        _ = tasks.get(f"{tmp_path / 'e.csv'}[cluster=c]").dataset


def test_near_duplicates_become_clusters_where_that_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    texts = [f"ticket {i} says that nothing at all works since monday {i * 7919}" for i in range(20)]
    texts.append(texts[3].upper() + "!")
    (tmp_path / "n.jsonl").write_text(
        "".join(json.dumps({"text": t + " today", "label": "ab"[i % 2]}) + "\n" for i, t in enumerate(texts))
    )
    items = tasks.get(f"{tmp_path / 'n.jsonl'}[cluster=near-duplicates]").dataset.items
    assert items[20].cluster == items[3].cluster == items[3].id
    assert len({item.cluster for item in items}) == 20


def test_near_duplicates_are_those_of_all_pairs_by_definition():
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(["a", "b", "c", "d"], size=rng.integers(1, 12))) for _ in range(200)]

    def runs(text):
        words = text.split()
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}

    groups = {i: i for i in range(len(texts))}
    for i in range(len(texts)):
        for j in range(i):
            a, b = runs(texts[i]), runs(texts[j])
            if 10 * len(a & b) >= 8 * len(a | b):
                old, new = sorted((groups[i], groups[j]), reverse=True)
                groups = {k: new if g == old else g for k, g in groups.items()}
    assert near_duplicates(texts) == list(groups.values())


def test_compare_takes_clusters_from_the_records():
    clusters = [OF[f"i{i:03}"] for i in range(100)]
    one, other = _vectors(cluster_ids=clusters), _vectors()
    own = calbench.compare(one, other, n_resamples=100).arm("candidate").resamples
    given = calbench.compare(other, other, clusters=clusters, n_resamples=100).arm("candidate").resamples
    assert own.fingerprint == given.fingerprint
    with pytest.raises(
        InputError, match=r"'i000' is of the cluster 'p0' in the reference and 'x' in the candidate"
    ):
        calbench.compare(one, _vectors(cluster_ids=["x"] * 100))


def test_transfer_divides_no_cluster_of_the_records():
    record = _vectors(cluster_ids=list(OF.values()))
    moved = calbench.transfer(record, record, "temperature", n_resamples=100)
    assert _whole(moved.arm("transferred").resamples.item_ids.tolist())
    assert moved.arm("transferred").resamples.design.n_units < moved.n_test
    with pytest.raises(LeakageError, match="clusters are both fitted on and scored"):
        calbench.transfer(record, record, "temperature", calibration_ids=["i000"])


def test_evaluate_takes_clusters_as_units():
    own = calbench.evaluate(_vectors(cluster_ids=["a"] * 50 + ["b"] * 50), ["accuracy"])["accuracy"]
    alone = calbench.evaluate(_vectors(), ["accuracy"])["accuracy"]
    assert own.value == alone.value
    assert own.interval != alone.interval


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "npz", "safetensors", "csv"])
def test_records_keep_clusters_and_distributions_in_files(tmp_path, suffix):
    shares = np.random.default_rng(0).dirichlet([1, 1], 100)
    record = _vectors(cluster_ids=list(OF.values()), label_distribution=shares)
    path = tmp_path / f"r.{suffix}"
    record.write(path)
    again = Predictions.read(path)
    assert again.cluster_ids.tolist() == list(OF.values())
    assert np.array_equal(again.label_distribution, record.label_distribution)
    top = record.to_top_label()
    top.write(path)
    assert TopLabelPredictions.read(path).cluster_ids.tolist() == list(OF.values())
    assert record.take(["i004", "i000"]).cluster_ids.tolist() == ["p1", "p0"]
    assert np.array_equal(record.take(["i004"]).label_distribution, record.label_distribution[[4]])


def test_a_files_columns_are_mapped(tmp_path):
    rows = [
        {"id": i, "p": [0.6, 0.4], "gold": i % 2, "doc": i // 2, "votes": [3, 1] if i else [4, 0]}
        for i in range(6)
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ColumnNames(item_id="id", probs="p", label="gold", cluster_id="doc", label_distribution="votes")
    record = read_record(path, names)
    assert record.cluster_ids.tolist() == ["0", "0", "1", "1", "2", "2"]
    assert record.label_distribution.tolist() == [[1.0, 0.0], *[[0.75, 0.25]] * 5]
    top = ColumnNames(item_id="id", confidence="gold", correct="gold", label_distribution="votes")
    with pytest.raises(
        InputError, match="label_distribution is compared with the probability of every class"
    ):
        read_record(path, top)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cluster_ids": ["a"]}, "cluster_ids has 1 values for 100 items"),
        ({"cluster_ids": ["a"] * 99 + [" "]}, r"cluster_ids\[99\] is ' '"),
        ({"label_distribution": [[1, 0, 0]] * 100}, r"shape \(100, 3\); expected \(100, 2\)"),
        ({"label_distribution": [[1, 1]] * 100}, r"label_distribution: probs\[0\] sums to 2"),
    ],
)
def test_what_does_not_belong_to_the_items_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        _vectors(**more)


def test_soft_metrics_are_the_mean_over_drawn_labels():
    rng = np.random.default_rng(3)
    probs, shares = rng.dirichlet([1, 1, 1], 40), rng.dirichlet([1, 1, 1], 40)
    record = Predictions.from_probs(range(40), probs, shares.argmax(axis=1), label_distribution=shares)
    p = record.probs
    # the expectation over labels, summed class by class
    brier = np.mean(
        [
            sum(s[k] * np.sum((q - np.eye(3)[k]) ** 2) for k in range(3))
            for q, s in zip(p, shares, strict=True)
        ]
    )
    assert metrics.evaluate("expected_brier", record) == pytest.approx(brier, abs=1e-12)
    surprise = np.mean([sum(-s[k] * np.log(q[k]) for k in range(3)) for q, s in zip(p, shares, strict=True)])
    assert metrics.evaluate("cross_entropy", record) == pytest.approx(surprise, abs=1e-12)
    gaps = [q.max() - s[q.argmax()] for q, s in zip(p, shares, strict=True)]
    bins = np.ceil(p.max(axis=1) * 15)
    total = sum(abs(sum(g for g, b in zip(gaps, bins, strict=True) if b == k)) for k in set(bins)) / 40
    assert metrics.evaluate("soft_ece", record) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize(
    ("soft", "hard"), [("soft_ece", "ece"), ("cross_entropy", "nll"), ("expected_brier", "brier")]
)
def test_with_labels_a_soft_metric_is_the_hard_one(soft, hard):
    record = _vectors()
    ours = metrics.get(soft)(record.probs, record.labels)
    assert ours == pytest.approx(metrics.get(hard)(record.probs, record.labels), abs=1e-12)


def test_a_record_without_a_distribution_is_refused_with_what_to_write():
    with pytest.raises(InputError, match=r"give the record its label_distribution="):
        metrics.evaluate("soft_ece", _vectors())


def test_soft_metrics_are_measured_beside_the_hard_ones_and_are_less_noisy():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 1], 2000)
    labels = (rng.random(2000) < shares[:, 1]).astype(int)
    noisy = np.log(np.clip(shares, 1e-3, 1)) + rng.normal(0, 0.1, (2000, 2))
    record = Predictions(range(2000), noisy, labels, label_distribution=shares)
    found = calbench.evaluate(record)
    assert set(found) == {"ece", "nll", "brier", "accuracy", "soft_ece", "cross_entropy", "expected_brier"}
    width = {name: found[name].interval[1] - found[name].interval[0] for name in found}
    assert width["expected_brier"] < width["brier"]
    assert width["soft_ece"] < width["ece"] / 2


def test_a_fitted_split_measures_calibrated_probabilities_against_the_people():
    shares = np.tile([[0.75, 0.25]], (100, 1))
    record = _vectors(label_distribution=shares)
    split = split_items(record.item_ids.tolist())
    side = FittedSplit.of(record, split, resamples=resamples_for(split.test, n_resamples=50))
    assert "soft_ece" in side.raw.values


def test_the_embedded_sentences_carry_their_raters():
    pytest.importorskip("calbench.packages")
    items = tasks.get("nyt").dataset.items
    assert all(sum(item.distribution) == pytest.approx(1) for item in items)
    assert all((item.distribution[1] > 0.5) == item.label for item in items)


def test_the_questions_of_a_passage_are_a_cluster_of_boolq():
    items = tasks.get("boolq").dataset.items
    assert len({item.cluster for item in items}) == len({item.passage for item in items}) < len(items)
