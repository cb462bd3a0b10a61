"""Records from elsewhere become cells of a leaderboard."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import Predictions
from calbench.calibrators import softmax
from calbench.errors import InputError
from calbench.report import cells_of_records, document
from calbench.report._format import Results
from calbench.report._schema import checked
from tests.report.rows import SETTINGS

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(400, 3))
LABELS = [RNG.choice(3, p=p) for p in softmax(LOGITS)]


def record(quantizer="fp16", scale=1.0, **facts):
    metadata = {"model": "m", "task": "t", "quantizer": quantizer, "origin": {"format": "table"}, **facts}
    return Predictions(range(400), scale * LOGITS, LABELS, metadata)


PAIR = {"a.parquet": record(), "b.parquet": record("int4", 3.0, effective_bits=4.5)}


def test_cells_are_measured_against_the_full_precision_record():
    cells = cells_of_records(PAIR, calibrators=("identity", "temperature"), n_resamples=200)
    assert [(r["quantizer"], r["calibrator"]) for r in cells.rows] == [
        ("fp16", "identity"),
        ("fp16", "temperature"),
        ("int4", "identity"),
        ("int4", "temperature"),
    ]
    assert cells.rows[2]["gates"][0]["outcome"] == "fail"
    assert cells.rows[2]["quantization"]["effective_bits"] == 4.5
    made = document(cells.rows, settings=SETTINGS, store=cells)
    checked(made, Results, "results")
    assert made["records"][cells.rows[2]["records"]["candidate"]]["identity"]["origin"] == {"format": "table"}
    flips = next(iter(made["confidence_pairs"].values()))
    assert flips["n_flips"] == 0  # the scale changes no answer


def test_records_of_the_top_answer_get_the_calibrators_that_can():
    tops = {name: r.to_top_label() for name, r in PAIR.items()}
    cells = cells_of_records(tops, calibrators=("temperature", "platt"), n_resamples=200)
    assert {r["calibrator"] for r in cells.rows} == {"platt"}
    assert "temperature needs class vectors" in cells.notes[0]
    checked(document(cells.rows, settings=SETTINGS, store=cells), Results, "results")


def test_calibrators_that_need_a_unit_error_are_left_out_and_noted():
    cells = cells_of_records(PAIR, calibrators=("pacs", "identity"), n_resamples=100)
    assert {r["calibrator"] for r in cells.rows} == {"identity"}
    assert "pacs needs the unit error of each precision" in cells.notes[0]


def test_every_metric_of_every_cell_is_defined():
    tops = {f"top-{n}": r.with_metadata({**r.metadata, "task": "u"}).to_top_label() for n, r in PAIR.items()}
    cells = cells_of_records(PAIR | tops, calibrators=("platt",), n_resamples=100)
    measured = {metric for row in cells.rows for arm in row["arms"].values() for metric in arm}
    assert {"brier", "brier_toplabel"} <= measured
    assert document(cells.rows, settings=SETTINGS, store=cells)["metrics"].keys() == measured


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"x": Predictions(["a"], [[1, 0]], [0])}, "x: does not say its model and task and quantizer"),
        ({"x": record(), "y": record()}, "y: a second record of m on t at fp16"),
        ({"x": record("int4")}, r"at fp32, bf16 or fp16 \(there are int4\); import .* quantizer='fp32', or"),
    ],
)
def test_records_that_cannot_be_placed_are_named(records, message):
    with pytest.raises(InputError, match=message):
        cells_of_records(records)
