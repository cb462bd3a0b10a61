"""Cells of imported records, without a model."""

import numpy as np
import pytest

from calbench import Predictions
from calbench.runs import Cell, ImportedRunner

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.normal(size=(400, 3))
LABELS = np.argmax(LOGITS + RNG.gumbel(size=LOGITS.shape), axis=1)
CELL = Cell("m", "t", "int4", "temperature")


def record(quantizer, logits):
    return Predictions(range(400), logits, LABELS, {"model": "m", "task": "t", "quantizer": quantizer})


@pytest.fixture
def arms():
    """Measure the transferred arm with a seed of the bootstrap."""

    def run(bootstrap_seed, *, seed=42):
        records = {"a": record("fp32", LOGITS), "b": record("int4", 1.3 * LOGITS)}
        runner = ImportedRunner.of(records, n_resamples=100, bootstrap_seed=bootstrap_seed)
        return runner.transfer(CELL, seed=seed).comparison.arm("transferred")

    return run


@pytest.mark.parametrize("bootstrap_seed", [0, 7])
def test_the_seed_of_the_bootstrap_leaves_the_division_and_the_fit_alone(arms, bootstrap_seed):
    first, second = arms(None), arms(bootstrap_seed)
    assert first.resamples.item_ids.tolist() == second.resamples.item_ids.tolist()
    assert first.values == second.values
    assert (first.resamples.counts != second.resamples.counts).any()


def test_another_division_has_other_items(arms):
    assert arms(7).resamples.item_ids.tolist() != arms(7, seed=43).resamples.item_ids.tolist()
