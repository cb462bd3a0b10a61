"""How much an adapter is trained, and how much an arm is asked; the same for every arm of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from calbench.adaptation._recipe import Distillation, Recipe
from calbench.models import Architecture


@dataclass(frozen=True)
class Budget:
    """What every adapter of a comparison gets, and every arm is asked.

    Parameters
    ----------
    n_training
        Items of the task's training part, then of those that this profile does not ask; None for all.
    n_watched
        Items of the calibration split that early stopping looks at.
    recipe
        Shape and schedule.
    distillation
        For the arms that have a teacher.
    n_asked
        Calibration and test items that every arm is asked; None for as many as the profile asks a
        model elsewhere.
    """

    n_training: int | None
    n_watched: int
    recipe: Recipe
    distillation: Distillation
    n_asked: tuple[int, int] | None = None


_TAUGHT = Distillation(alpha=0.7, temperature=2.0)
_ENCODER = Recipe(batch_size=32, epochs=2, learning_rate=1e-3)
_DECODER = Recipe(batch_size=8, epochs=1, learning_rate=5e-4)

BUDGETS: Mapping[str, Mapping[Architecture, Budget]] = {
    "quick": {
        "sequence-classification": Budget(160, 100, _ENCODER, _TAUGHT),
        "causal-lm": Budget(48, 24, _DECODER, _TAUGHT),
    },
    "default": {
        "sequence-classification": Budget(800, 400, _ENCODER, _TAUGHT),
        "causal-lm": Budget(240, 64, _DECODER, _TAUGHT, (150, 350)),
    },
    "full": {
        "sequence-classification": Budget(None, 400, _ENCODER, _TAUGHT),
        "causal-lm": Budget(None, 200, _DECODER, _TAUGHT),
    },
}
