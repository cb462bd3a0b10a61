"""Parameterised temperature scaling: a small network reads each item's temperature off its logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import NUMPY, Ops
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import FitData, check_enough, check_fit
from calbench.calibrators._interface import CalibrationContext
from calbench.calibrators._scaling import scale_derivatives
from calbench.calibrators._temperature import fit_temperature
from calbench.errors import InputError
from calbench.records import Float64

_WIDTH = 5
_PRIOR = 3.0  # precision of the weights' prior; below, 500 samples overfit, and its pull fades as 1 / n
_PRESENT = -1e20  # below it a gap is to an option that is not there
_MAX_ITERATIONS = 500
_LIMIT = 10.0  # T stays within e^±10 of the ordinary temperature


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedAdaptive(Fitted):
    """softmax(z / T(z)), log T a network of the gaps between the largest logits."""

    calibrator = "adaptive"
    temperature: float
    centre: Float64
    spread: Float64
    layers: tuple[Float64, ...]

    def formula(self, ops: Ops, z: Any) -> Any:
        """Divide each row by its own temperature."""
        hidden = gap_features(ops, z, self.centre, self.spread)
        last = len(self.layers) // 2 - 1
        for i in range(last + 1):
            weights, bias = self.layers[2 * i], self.layers[2 * i + 1]
            hidden = hidden @ ops.constant(f"weights_{i}", weights)
            hidden = hidden + ops.constant(f"bias_{i}", bias)
            hidden = ops.tanh(hidden) if i < last else ops.minimum(ops.maximum(hidden, -_LIMIT), _LIMIT)
        return ops.softmax(z / (ops.constant("temperature", self.temperature) * ops.exp(hidden)))

    def problems(self) -> Problems:
        """What its parameters must keep."""
        gaps = len(self.centre)
        sizes = [(gaps, _WIDTH), (_WIDTH,), (_WIDTH, _WIDTH), (_WIDTH,), (_WIDTH, 1), (1,)]
        yield self.temperature > 0, f"temperature is {self.temperature}"
        yield self.centre.shape == self.spread.shape == (gaps,), "centre and spread differ in their shapes"
        yield bool((self.spread > 0).all()), "a spread is not above 0"
        yield [layer.shape for layer in self.layers] == sizes, "the layers do not fit together"
        yield self.n_classes in (None, gaps + 1), f"n_classes is {self.n_classes}"

    @property
    def n_parameters(self) -> int:
        """Weights and biases of the network, and the temperature it starts from."""
        return 1 + sum(layer.size for layer in self.layers)


@calibrator("adaptive")
@dataclass(frozen=True)
class Adaptive(Method):
    r"""Parameterised temperature scaling (PTS): T(z) from the sorted largest logits.

    Two hidden layers of 5 tanh units see the standardised gaps z₍₁₎ − z₍ⱼ₎, j = 2...n_top, which do
    not depend on the logits' unidentified constant, and give log T, to which the log of the ordinary
    temperature is added. Trained on the negative log-likelihood with a weight penalty, by L-BFGS from
    a network whose output is 0: at its worst the fit is the ordinary temperature. (The paper trains
    on a squared calibration error by minibatches and takes T's absolute value.)

    Parameters
    ----------
    n_top
        How many of the largest logits are seen, at most as many as there are classes.

    References
    ----------
    Tomani, Cremers, Buettner: Parameterized Temperature Scaling, ECCV 2022.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(500, 4)) * 3
    >>> y = np.array([rng.choice(4, p=p) for p in NUMPY.softmax(z / 2)])
    >>> Adaptive().fit(z, y).n_parameters
    57
    """

    fit_type = FittedAdaptive
    source = "Tomani, Cremers, Buettner 2022, Parameterized Temperature Scaling (ECCV)"
    preserves_prediction = True

    n_top: int = 10

    def __post_init__(self) -> None:
        if not isinstance(self.n_top, int) or self.n_top < 2:
            raise InputError(f"adaptive: n_top is {self.n_top!r}; use an integer from 2 up")

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedAdaptive:
        """Train the network; raises :class:`InputError` with fewer samples than parameters."""
        data = check_fit(logits, labels, context)
        n_gaps = min(self.n_top, data.n_classes) - 1
        shapes = [(n_gaps, _WIDTH), (_WIDTH,), (_WIDTH, _WIDTH), (_WIDTH,), (_WIDTH, 1), (1,)]
        check_enough(data, 1 + sum(int(np.prod(s)) for s in shapes), "adaptive")
        temperature, warnings = fit_temperature(data)
        gaps = gap_features(NUMPY, data.logits.astype(np.float64), np.zeros(n_gaps), np.ones(n_gaps))
        centre, spread = gaps.mean(axis=0), gaps.std(axis=0)
        spread[spread == 0] = 1.0
        features = gap_features(NUMPY, data.logits.astype(np.float64), centre, spread)
        rng = (context or CalibrationContext()).rng
        start = [rng.normal(size=s) / np.sqrt(s[0]) if len(s) == 2 else np.zeros(s) for s in shapes]
        start[-2][:] = 0.0

        def objective(x: Float64) -> tuple[float, Float64]:
            return network_loss(data, features, _unpack(x, shapes), temperature)

        result: Any = scipy.optimize.minimize(
            objective,
            np.concatenate([layer.ravel() for layer in start]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "maxfun": 2 * _MAX_ITERATIONS, "gtol": 1e-7, "ftol": 1e-12},
        )
        if result.status == 1:
            warnings += (f"training stopped after {_MAX_ITERATIONS} iterations, before it had converged",)
        return FittedAdaptive(
            temperature=temperature,
            centre=centre,
            spread=spread,
            layers=tuple(layer.copy() for layer in _unpack(result.x, shapes)),
            n_classes=data.n_classes if n_gaps + 1 < self.n_top else None,
            warnings=warnings,
        )


def gap_features(ops: Ops, z: Any, centre: Float64, spread: Float64) -> Any:
    """Standardised gaps between the largest logit and the next ones; 0 for options that are not there."""
    gaps = (ops.top(z, len(centre) + 1) - ops.max(z))[..., 1:]
    scaled = (gaps - ops.constant("centre", centre)) / ops.constant("spread", spread)
    return ops.where(gaps > _PRESENT, scaled, 0.0)


def network_loss(
    data: FitData, features: Float64, layers: list[Float64], temperature: float
) -> tuple[float, Float64]:
    """Mean loss plus the weight penalty, and its gradient by all weights, in the layers' order."""
    w1, b1, w2, b2, w3, b3 = layers
    first = np.tanh(features @ w1 + b1)
    second = np.tanh(first @ w2 + b2)
    log_growth = (second @ w3 + b3)[:, 0]
    scale = np.exp(-np.clip(log_growth, -_LIMIT, _LIMIT)) / temperature
    loss, slope, _ = scale_derivatives(data, scale)
    back = np.where(np.abs(log_growth) < _LIMIT, -scale * slope, 0.0)[:, None] / data.n_samples
    back2 = (back @ w3.T) * (1 - second**2)
    back1 = (back2 @ w2.T) * (1 - first**2)
    gradients = [
        features.T @ back1,
        back1.sum(axis=0),
        first.T @ back2,
        back2.sum(axis=0),
        second.T @ back,
        back.sum(axis=0),
    ]
    ridge = _PRIOR / data.n_samples
    penalty = ridge / 2 * sum(float(np.vdot(w, w)) for w in (w1, w2, w3))
    for i in (0, 2, 4):
        gradients[i] = gradients[i] + ridge * layers[i]
    return float(loss.mean()) + penalty, np.concatenate([g.ravel() for g in gradients])


def _unpack(x: Float64, shapes: list[tuple[int, ...]]) -> list[Float64]:
    sizes = [int(np.prod(s)) for s in shapes]
    parts = np.split(x, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
