"""Models that have given up: no better than the commonest answer, and well calibrated for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calbench.gates import Arm
from calbench.metrics import Outcomes
from calbench.statistics import Estimate, Resampled, difference, resample


@dataclass(frozen=True)
class Collapse:
    """What is known of a collapsed model.

    Parameters
    ----------
    accuracy
        Of the model.
    chance
        Share of the commonest label: the accuracy of always answering that.
    advantage
        Accuracy minus chance, paired.
    ece
        Of the model, which says nothing here.
    """

    accuracy: float
    chance: float
    advantage: Estimate
    ece: float

    def __str__(self) -> str:
        low, high = self.advantage.interval
        return (
            f"right on {self.accuracy:.3f}, while always giving the commonest answer is right on"
            f" {self.chance:.3f} (difference {self.advantage.value:+.3f} [{low:+.3f}, {high:+.3f}]); an ECE"
            f" of {self.ece:.3f} is no merit of a model that may know nothing"
        )


def collapse_of(arm: Arm, *, level: float = 0.95) -> Collapse | None:
    """Return what is known if the arm is not shown to beat the commonest answer; else None.

    A model that answers at random with a confidence of 1/k, or always the same with the confidence of
    that label's share, has an ECE near 0. No calibration error can be read without this check.
    """
    accuracy = arm.resampled("accuracy")
    constant = _commonest(arm)
    advantage = difference(constant, accuracy, level)
    if advantage.interval[0] > 0:
        return None
    return Collapse(accuracy.value, constant.value, advantage, arm.resampled("ece").value)


def _commonest(arm: Arm) -> Resampled:
    labels = arm.outcomes.labels
    correct = labels == np.bincount(labels).argmax()
    items = Outcomes.from_top_label(np.ones(len(labels)), correct)
    return resample(["accuracy"], items, arm.resamples)["accuracy"]
