"""A short form of benchmarks/gate_simulation.py: few worlds, few draws, a pinned seed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

# Nothing changes in them, so that the truth needs no simulation.
WORLDS = (
    "both calibrated",
    "sharp -> broad, both calibrated",
    "broad -> sharp, both calibrated",
    "calibrated, noise 0.02",
    "calibrated, two classes, 20% anew",
    "spoken, calibrated, noise 0.02",
)
DRAWS = 300


@pytest.mark.parametrize("name", ["ece", "shared"])
def test_bounds_err_no_more_often_than_they_may(name, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    simulation = importlib.import_module("gate_simulation")
    worlds = [w for w in simulation.WORLDS + simulation.OTHER_WORLDS if w.name in WORLDS]
    assert len(worlds) == len(WORLDS)
    rows = list(simulation.simulate(DRAWS, worlds, (500,), simulation.STATISTICS[name], seed=1))
    assert not [line for line in simulation.verdict(rows, DRAWS) if "Holm" in line]
