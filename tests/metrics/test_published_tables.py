"""Figures that others published, from the same predictions."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from calbench import metrics, statistics
from calbench.metrics import Outcomes
from calbench.records import Predictions, TopLabelPredictions

EQUAL_MASS = "ece[strategy=quantile]"


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def cells(shared_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = shared_data / "mlx_quantization"
    loaded = {}
    for path in sorted((folder / "cells").glob("*.parquet")):
        table = parquet.read_table(
            path, columns=["item_id", "logprobs", "answer_idx", "conf_pred", "is_correct"]
        ).to_pydict()
        model, condition, benchmark = path.stem.split("__")
        ids = table["item_id"]
        loaded[model, condition, benchmark] = (
            Predictions(ids, table["logprobs"], table["answer_idx"]),
            TopLabelPredictions(ids, table["conf_pred"], table["is_correct"]),
        )
    return loaded


@pytest.fixture(scope="module")
def ladder(shared_data):
    return rows(shared_data / "mlx_quantization" / "tables" / "table1_h1_bit_ladder.csv")


def key(row):
    return row["model"], row["condition"], row["benchmark"]


def test_point_figures_from_the_stored_confidences(cells, ladder):
    assert len(ladder) == 28
    for row in ladder:
        record = cells[key(row)][1]
        assert metrics.evaluate(EQUAL_MASS, record) == pytest.approx(float(row["ece"]), abs=1e-12)
        assert metrics.evaluate("brier_toplabel", record) == pytest.approx(float(row["brier"]), abs=1e-12)


def test_point_figures_from_the_log_probabilities(cells, ladder):
    for row in ladder:
        record = cells[key(row)][0]
        # 1e-8: recomputing the confidences moves the figures by up to 7e-9
        assert metrics.evaluate(EQUAL_MASS, record) == pytest.approx(float(row["ece"]), abs=1e-8)
        assert metrics.evaluate("brier_toplabel", record) == pytest.approx(float(row["brier"]), abs=1e-8)


def test_slopes_and_intercepts(cells, ladder):
    for row in ladder:
        record = cells[key(row)][1]
        slope, intercept = (metrics.evaluate(f"calibration_{m}", record) for m in ("slope", "intercept"))
        assert slope == pytest.approx(float(row["slope"]), abs=1e-6)
        assert intercept == pytest.approx(float(row["intercept"]), abs=1e-6)


def test_overconfidence_rates_exactly(cells, shared_data):
    table = rows(shared_data / "mlx_quantization" / "tables" / "table2_h2_confidence_direction.csv")
    assert len(table) >= 28
    for row in table:
        record = cells[key(row)][1]
        assert metrics.evaluate("overconfidence_error_rate", record) == float(row["overconfidence_rate"])


@pytest.fixture(scope="module")
def published_draw():
    """Theirs: seed 0, 2,000 times 1,000 rows with replacement."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, 1000, size=1000) for _ in range(2000)])


def in_drawn_order(record, draw):
    """Resample the rows themselves, so that equal confidences keep the order in which they were drawn."""
    items = Outcomes.from_record(record)
    order = np.argsort(items.confidences[draw], axis=1, kind="stable")
    gaps = np.take_along_axis(items.gaps[draw], order, axis=1)
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(1000), 15)])
    return np.abs(np.diff(np.cumsum(gaps, axis=1)[:, ends - 1], prepend=0.0)).sum(axis=1) / 1000


def test_bootstrap_intervals(cells, ladder, published_draw):
    """To 1e-8 from the published draw, and from calbench's weights wherever the order of ties cannot matter.

    A weight matrix knows how often an item was drawn but not when. In the published protocol equal
    confidences fall into bins in the order in which they were drawn, so that an interval can differ
    by what one tied pair at a bin's edge is worth: calbench breaks such ties by item id.
    """
    counts = np.stack([np.bincount(draw, minlength=1000) for draw in published_draw], axis=1)
    in_order = np.sort(published_draw, axis=1)
    base = {}
    n_equal = 0
    for row in sorted(ladder, key=lambda row: row["condition"] != "bf16"):
        record, place = cells[key(row)][1], (row["model"], row["benchmark"])
        drawn = in_drawn_order(record, published_draw)
        published = [float(row[name]) for name in ("ece_lo", "ece_hi")]
        assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx(published, abs=1e-8)
        resamples = statistics.Resamples(np.sort(record.item_ids), counts)
        ours = statistics.resample([EQUAL_MASS], Outcomes.from_record(record), resamples)[EQUAL_MASS]
        if row["condition"] == "bf16":
            base[place] = drawn, ours
            assert ours.values == pytest.approx(in_drawn_order(record, in_order), abs=1e-12)
        base_drawn, base_ours = base[place]
        assert ours.estimate().interval == pytest.approx(published, abs=1e-3)
        n_equal += np.allclose(ours.estimate().interval, published, rtol=0, atol=1e-8)
        if row["condition"] != "bf16":
            published = [float(row[f"delta_ece_{end}"]) for end in ("lo", "hi")]
            assert np.quantile(drawn - base_drawn, [0.025, 0.975]) == pytest.approx(published, abs=1e-8)
            paired = statistics.difference(base_ours, ours, method="percentile")
            assert paired.interval == pytest.approx(published, abs=1e-3)
            assert paired.value == pytest.approx(float(row["delta_ece"]), abs=1e-12)
    assert n_equal >= 20  # of 28; the others have a tied pair at an edge


@pytest.mark.parametrize(
    ("name", "published"),
    [("probs_resnet110_c10_logits", "0.0475035"), ("probs_densenet40_c100_logits", "0.211563")],
)
def test_ece_of_the_standard_networks(shared_data, name, published):
    table = rows(shared_data / "hollance" / f"{name}.csv")
    record = TopLabelPredictions(
        range(len(table)),
        [float(row["confidence"]) for row in table],
        [row["true_label"] == row["pred_label"] for row in table],
    )
    assert f"{metrics.evaluate('ece', record):.6g}" == published


def test_accuracies_of_the_harness(shared_data):
    folder = shared_data / "lm_eval_samples"
    results = json.loads(next(folder.glob("results_*.json")).read_text())["results"]
    for path in folder.glob("samples_*.jsonl"):
        samples = [json.loads(line) for line in path.read_text().splitlines()]
        logits = [[float(answer[0]) for answer in s["filtered_resps"]] for s in samples]
        labels = [int(s["target"]) for s in samples]
        record = Predictions([s["doc_id"] for s in samples], logits, labels)
        task = path.stem.removeprefix("samples_").rsplit("_", 1)[0]
        assert metrics.evaluate("accuracy", record) == results[task]["acc,none"]
