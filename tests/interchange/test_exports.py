"""Results in other tools' shapes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from calbench import Predictions, statistics
from calbench.interchange import front_matter, lm_eval_results, model_index

RECORD = Predictions(range(40), np.random.default_rng(0).normal(size=(40, 3)), [0, 1] * 20, {"model": "m"})
ESTIMATES = statistics.bootstrap(RECORD, ("accuracy", "ece[n_bins=10]"), seed=np.random.default_rng(1))


def test_results_are_shaped_as_the_harness_writes_them():
    contents = lm_eval_results(RECORD, ESTIMATES, task="t")
    result = contents["results"]["t"]
    assert result["acc,none"] == ESTIMATES["accuracy"].value
    low, high = ESTIMATES["accuracy"].interval
    assert result["acc_stderr,none"] == pytest.approx((high - low) / 4)
    assert contents["higher_is_better"]["t"] == {"acc": True, "ece[n_bins=10]": False}
    assert contents["model_name"] == "m"
    json.dumps(contents, allow_nan=False)


def test_a_model_index_names_each_metric_with_its_interval():
    (entry,) = model_index(RECORD, ESTIMATES, model="me/m", task="t")["model-index"]
    (result,) = entry["results"]
    assert result["dataset"] == {"type": "t", "name": "t"}
    first, second = result["metrics"]
    assert (first["type"], first["args"]["n"]) == ("accuracy", 40)
    assert second["args"]["n_bins"] == 10


def test_front_matter_is_yaml():
    yaml = pytest.importorskip("yaml")
    index = model_index(RECORD, ESTIMATES, model='a: "b"\n---', task="t")
    text = front_matter(index)
    assert text.startswith("---\n")
    (parsed,) = [doc for doc in yaml.safe_load_all(text) if doc]
    assert parsed == index
