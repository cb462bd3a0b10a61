"""``calbench threshold``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from calbench import Predictions, TopLabelPredictions
from calbench.cli import app


@pytest.fixture
def answers(tmp_path):
    def write(n):
        rng = np.random.default_rng(0)
        sure = rng.uniform(0.5, 1, size=n)
        TopLabelPredictions(range(n), sure, rng.random(n) < sure).write(tmp_path / "answers.parquet")
        return str(tmp_path / "answers.parquet")

    return write


def test_the_threshold_is_printed_with_what_it_keeps(answers):
    done = CliRunner().invoke(app, ["threshold", answers(3000), "--at-most", "0.1"])
    assert done.exit_code == 0
    assert "promised 10.0% with 95% confidence" in done.output


def test_none_found_is_said_and_exits_with_3(answers):
    done = CliRunner().invoke(app, ["threshold", answers(30), "--at-most", "0.05", "--json"])
    assert done.exit_code == 3
    assert json.loads(done.output)["found"] is None


def test_parts_of_one_record_are_judged_together_and_fitted_on_the_first(tmp_path, answers):
    whole = TopLabelPredictions.read(answers(3000))
    ids = whole.item_ids.tolist()
    for name, part in {"a": ids[:1000], "b": ids[1000:]}.items():
        whole.take(part).write(tmp_path / f"{name}.parquet")
    parts = [str(tmp_path / f"{name}.parquet") for name in "ab"]
    command = ["threshold", *parts, "--at-most", "0.1", "--json"]
    (together,) = (json.loads(CliRunner().invoke(app, command).output)["found"],)
    alone = CliRunner().invoke(app, ["threshold", answers(3000), "--at-most", "0.1", "--json"])
    assert together == json.loads(alone.output)["found"]
    fitted = CliRunner().invoke(app, [*command, "--calibrator", "isotonic"])
    assert json.loads(fitted.output)["found"]["n"] == 2600


def test_none_found_names_what_comes_nearest_and_what_else_is_stored(tmp_path, answers):
    from calbench.store import Store

    whole, store = TopLabelPredictions.read(answers(60)), Store.at(tmp_path / "store")
    named = {"model": "m", "task": "t", "quantizer": "q"}
    for start, end in ((0, 40), (40, 50), (50, 60), (30, 60)):
        part = whole.take(whole.item_ids.tolist()[start:end])
        more = {"part": [start, end]} if start else {}
        told = TopLabelPredictions(part.item_ids, part.confidences, part.correct, {**named, **more})
        store.put({**named, "of": start}, told, {})
    done = CliRunner().invoke(app, ["threshold", "m::t::q", "--store", str(tmp_path / "store")])
    assert done.exit_code == 3, done.output
    assert "the nearest of those that are tried first: 0." in done.output
    assert [line[-7:] for line in done.output.splitlines() if "more answers: add" in line] == [
        "::40-50",
        "::50-60",
    ]


def test_a_stored_record_is_found_in_the_store_that_is_named(tmp_path, answers, monkeypatch):
    from calbench.store import Store

    record = TopLabelPredictions.read(answers(3000))
    key = Store.at(tmp_path / "store").put({"model": "m"}, record, {}).key
    done = CliRunner().invoke(app, ["threshold", key, "--at-most", "0.1", "--store", str(tmp_path / "store")])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "another"))
    done = CliRunner().invoke(app, ["threshold", key])
    assert "no stored record is called" in str(done.exception)


def test_items_that_a_calibrator_is_fitted_on_are_not_judged(answers):
    done = CliRunner().invoke(
        app, ["threshold", answers(3000), "--at-most", "0.1", "--calibrator", "isotonic", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["found"]["n"] == 1800


def test_a_threshold_is_found_with_the_calibrator_of_the_reference(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 2)) * 2
    y = (rng.random(4000) < 1 / (1 + np.exp(z[:, 0] - z[:, 1]))).astype(int)
    names = [str(tmp_path / name) for name in ("fp32.parquet", "int4.parquet")]
    for name, scale in zip(names, (2, 3), strict=True):
        Predictions(range(4000), scale * z, y).write(name)
    options = ["--at-most", "0.1", "--calibrator", "temperature", "--json"]
    found = [
        json.loads(CliRunner().invoke(app, ["threshold", names[1], *options, *more]).output)["found"]
        for more in ([], ["--fit-on", names[0]])
    ]
    # The reference's temperature is too low for logits that grew: a higher threshold keeps the promise.
    assert found[1]["n"] == 2400
    assert found[0]["threshold"] < found[1]["threshold"]
