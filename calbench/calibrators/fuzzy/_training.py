"""Training of the fuzzy calibrator: L-BFGS on the data as they are, Adam under simulated noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from calbench.calibrators._array_ops import NUMPY, centred, finite, log_softmax
from calbench.calibrators._inputs import FitData
from calbench.calibrators.fuzzy._loss import LossWeights, fuzzy_loss
from calbench.calibrators.fuzzy._model import FuzzyModel
from calbench.records import Float64

_RIDGE = 1e-4
_MAX_ITERATIONS = 60
_ADAM_STEPS = 200
_ADAM_RATE = 0.03


class FuzzyObjective:
    """Loss plus the weak pull of the affine parts towards the identity, by a model's parameters."""

    def __init__(self, model: FuzzyModel, data: FitData, weights: LossWeights) -> None:
        self.model = model
        self.labels = data.labels
        self.weights = weights
        self.neutral = model.neutral()
        self.pull = _RIDGE * model.is_affine()
        self.predicted = data.logits.argmax(axis=1)
        self.use(data.logits.astype(np.float64))

    def use(self, logits: Float64) -> None:
        """Take other logits ``(n, k)`` of the same items."""
        log_probs = log_softmax(NUMPY, logits).T
        self.present = np.ascontiguousarray(finite(log_probs))
        self.log_probs = np.ascontiguousarray(np.where(self.present, log_probs, 0.0))

    def __call__(self, x: Float64) -> tuple[float, Float64]:
        """Value and gradient."""
        scores = np.where(self.present, self.model.forward(x, self.log_probs), -np.inf)
        value, gradient = fuzzy_loss(scores, self.labels, self.predicted, self.weights)
        pull = self.pull * (x - self.neutral)
        return value + float(pull @ (x - self.neutral)) / 2, self.model.backward(gradient) + pull


def train(
    model: FuzzyModel,
    start: Float64,
    data: FitData,
    weights: LossWeights,
    *,
    noise: tuple[int, np.random.Generator] | None,
) -> tuple[Float64, tuple[str, ...]]:
    """Return trained parameters and warnings; ``noise`` is the bits and the generator to simulate with."""
    objective = FuzzyObjective(model, data, weights)
    if noise is None:
        x = _lbfgs(objective, start)
    else:
        x = _adam(objective, start, data.logits.astype(np.float64), *noise)
    low, high = np.array(model.bounds()).T
    stuck = int((model.is_affine() & ((x <= low) | (x >= high))).sum())
    if not stuck:
        return x, ()
    return x, (f"{stuck} slopes or biases ran to a bound: part of the calibration split is separable",)


def _lbfgs(objective: FuzzyObjective, start: Float64) -> Float64:
    result: Any = scipy.optimize.minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=objective.model.bounds(),
        options={"maxiter": _MAX_ITERATIONS, "gtol": 1e-6, "ftol": 1e-8, "maxcor": 20},
    )
    return np.asarray(result.x)


def _adam(
    objective: FuzzyObjective, start: Float64, logits: Float64, bits: int, rng: np.random.Generator
) -> Float64:
    low, high = np.array(objective.model.bounds()).T
    spread = float(np.abs(np.where(finite(logits), centred(NUMPY, logits)[0], 0.0)).max())
    half_step = spread / (2 ** (bits - 1) - 1) / 2
    x, mean, square = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t in range(1, _ADAM_STEPS + 1):
        objective.use(logits + rng.uniform(-half_step, half_step, size=logits.shape))
        _, gradient = objective(x)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        rate = _ADAM_RATE * 0.5 * (1 + np.cos(np.pi * t / _ADAM_STEPS))
        x = x - rate * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        x = np.clip(x, low, high)
    return np.asarray(x)
