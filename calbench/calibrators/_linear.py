"""The convex problems of softmax regression on logits: per class, and with a full matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from calbench.calibrators._array_ops import NUMPY, Ops, filled, finite, log_softmax
from calbench.calibrators._fitted import Fitted
from calbench.calibrators._inputs import FitData, missing_classes
from calbench.calibrators._solvers import Solution, not_converged
from calbench.errors import InputError
from calbench.records import Bool, Float64, FloatArray, Int64

F = TypeVar("F", bound=Fitted)
_LARGEST = 1e12  # of which single precision can sum products


@dataclass(frozen=True, eq=False)
class Design:
    """Inputs ``x`` ``(n, k)`` of a softmax regression, 0 where ``present`` is False, and labels."""

    x: Float64
    present: Bool
    labels: Int64

    @classmethod
    def of(cls, data: FitData, *, log_probs: bool) -> Design:
        """Take logits, or log-probabilities, as inputs.

        Raises
        ------
        InputError
            A number is too large for a linear map to be fitted to it.
        """
        z = data.logits.astype(np.float64)
        x = filled(NUMPY, log_softmax(NUMPY, z) if log_probs else z)
        if (large := np.abs(x).max(axis=1) > _LARGEST).any():
            row = int(np.argmax(large))
            raise InputError(
                f"logits[{row}] holds a number of the size of {np.abs(x[row]).max():.1e}, to which no linear"
                " map can be fitted; an option that an item does not have is -inf"
            )
        return cls(x, finite(z), data.labels)


class SoftmaxLoss:
    """Mean negative log-likelihood of scores, and its derivatives by them."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.rows = np.arange(len(design.labels))
        self.padded = not design.present.all()
        self.probs: Float64 = np.empty(0)
        self._kept: FloatArray = self.probs
        self._current = False

    def at(self, scores: Float64, fold: Callable[[Float64], Float64]) -> tuple[float, Float64]:
        """Loss, and its gradient by the scores ``(n, k)`` as a linear ``fold`` reduces it.

        The scores are overwritten, and belong to the loss from then on.
        """
        rows, labels = self.rows, self.design.labels
        if self.padded:
            scores[~self.design.present] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        target = scores[rows, labels]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        scores /= total
        self.probs, self._current = scores, False
        right = scores[rows, labels]
        scores[rows, labels] -= 1
        slope = fold(scores) / len(scores)
        scores[rows, labels] = right
        return float((np.log(total[:, 0]) - target).mean()), slope

    def curvature(self, change: FloatArray, fold: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Return, folded, the derivative of the gradient along a change of the scores, in its dtype.

        The change ``(n, k)`` is overwritten.
        """
        if self._kept.dtype != change.dtype or not self._current:
            self._kept, self._current = self.probs.astype(change.dtype, copy=False), True
        change -= np.einsum("ij,ij->i", self._kept, change)[:, None]
        change *= self._kept
        return fold(change) / len(change)

    def weights(self) -> Float64:
        """P (1 − p), ``(n, k)``: how much each score matters."""
        return self.probs * (1 - self.probs)


class PerClass:
    r"""Scores a_k x_k + b_k, with a weak pull of ``ridge``/2 (‖a − 1‖² + ‖b‖²); x is (a, b), ``(2, k)``.

    The pull makes the minimum unique and finite whatever the data; where it is finite anyway it
    moves the loss by something of the order of ridge².
    """

    def __init__(self, design: Design, ridge: float) -> None:
        self.loss = SoftmaxLoss(design)
        self.design = design
        self.ridge = ridge
        self.neutral = np.stack([np.ones(design.x.shape[1]), np.zeros(design.x.shape[1])])

    def evaluate(self, x: Float64) -> tuple[float, Float64]:
        """Value and gradient."""
        loss, slope = self.loss.at(self.design.x * x[0] + x[1], self._fold)
        away = x - self.neutral
        return loss + self.ridge / 2 * float(np.vdot(away, away)), slope + self.ridge * away

    def curvature(self, direction: Float64) -> Float64:
        """Hessian times a direction."""
        change = self.design.x * direction[0] + direction[1]
        return self.loss.curvature(change, self._fold) + self.ridge * direction

    def precondition(self) -> Callable[[Float64], Float64]:
        """Invert the 2 × 2 block of every class."""
        weights, x = self.loss.weights(), self.design.x
        n = len(x)
        weighted = weights * x
        cross = weighted.sum(axis=0) / n
        square = np.einsum("ij,ij->j", weighted, x) / n + self.ridge
        constant = weights.sum(axis=0) / n + self.ridge
        determinant = np.maximum(square * constant - cross**2, 1e-12 * square * constant)

        def inverse(v: Float64) -> Float64:
            stacked = np.stack([constant * v[0] - cross * v[1], square * v[1] - cross * v[0]])
            return np.asarray(stacked / determinant)

        return inverse

    def _fold(self, slope: FloatArray) -> Float64:
        return np.stack([np.einsum("ij,ij->j", slope, self.design.x), slope.sum(axis=0)])


class FullMatrix:
    r"""Scores x Wᵀ + b, with a quadratic penalty; x is (W | b), ``(k, k + 1)``.

    The penalty is ``sum(strength * (x - centre)**2)``, elementwise.
    """

    def __init__(self, design: Design, strength: Float64, centre: Float64) -> None:
        self.loss = SoftmaxLoss(design)
        self.design = design
        self.strength = strength
        self.centre = centre
        self.inputs = np.hstack([design.x, np.ones((len(design.x), 1))])
        self.inputs32 = self.inputs.astype(np.float32)
        self._scores, self._change = (np.empty(design.x.shape, dtype) for dtype in (np.float64, np.float32))
        self._value = np.inf
        self._kept: tuple[float, Callable[[Float64], Float64]] | None = None

    def evaluate(self, x: Float64) -> tuple[float, Float64]:
        """Value and gradient."""
        scores = np.matmul(self.inputs, x.T, out=self._scores)
        loss, slope = self.loss.at(scores, lambda slope: slope.T @ self.inputs)
        away = x - self.centre
        pull = self.strength * away
        self._value = loss + float(np.vdot(pull, away))
        return self._value, slope + 2 * pull

    def curvature(self, direction: Float64) -> Float64:
        """Hessian times a direction."""
        # In single precision: the steps that these products find are corrected by exact gradients.
        change = np.matmul(self.inputs32, direction.T.astype(np.float32), out=self._change)
        bend = self.loss.curvature(change, lambda change: change.T @ self.inputs32)
        return np.asarray(bend + 2 * self.strength * direction)

    def precondition(self) -> Callable[[Float64], Float64]:
        """Invert the blocks of the classes, taking the inputs' covariance as the same for all of them.

        The block of class k is the second moment of the inputs where k is in doubt, with weights
        P (1 - P): about their mean there, which differs between classes, a covariance that differs
        less. So all blocks are one matrix, decomposed once, and a matrix of rank one of each class's
        own. Until the loss has moved by a percent that of an earlier point will do.

        What is added to all rows of W alike leaves the softmax as it is, so there the penalty alone
        counts: without that the iterations grow tenfold on log-probabilities.
        """
        if self._kept is None or abs(self._value - self._kept[0]) > 1e-2 * abs(self._value):
            self._kept = self._value, self._inverse()
        return self._kept[1]

    def _inverse(self) -> Callable[[Float64], Float64]:
        n, doubt = len(self.inputs), self.loss.weights().astype(np.float32)
        middle = self.inputs.mean(axis=0)
        inputs = (self.inputs - middle).astype(np.float32)  # far from 0, single precision would lose them
        share = doubt.mean(axis=0, dtype=np.float64)
        means = (doubt.T @ inputs).astype(np.float64) / (n * np.maximum(share, 1e-300))[:, None]
        total = (inputs.T @ (inputs * doubt.sum(axis=1)[:, None])).astype(np.float64) / n
        covariance = (total - (means.T * share) @ means) / max(share.sum(), 1e-300)
        means += middle
        penalty = 2 * self.strength.mean(axis=0)
        root = np.sqrt(penalty)
        values, vectors = np.linalg.eigh(covariance / np.outer(root, root))
        # In the basis in which the covariance is diagonal, and the penalty the identity.
        basis = vectors / root[:, None]
        scale = np.maximum(np.outer(share, values), 0) + 1
        own = means @ basis
        bent = own / scale
        gain = share / (1 + share * np.einsum("ij,ij->i", own, bent))  # Sherman and Morrison

        def inverse(v: Float64) -> Float64:
            common = v.mean(axis=0)
            turned = (v - common) @ basis
            turned = turned / scale - bent * (gain * np.einsum("ij,ij->i", bent, turned))[:, None]
            apart = turned @ basis.T
            return np.asarray(apart - apart.mean(axis=0) + common / penalty)

        return inverse


def per_class_formula(ops: Ops, x: Any, scale: Float64, bias: Float64) -> Any:
    """Softmax of a_k x_k + b_k; padding stays out."""
    scores = filled(ops, x) * ops.constant("scale", scale) + ops.constant("bias", bias)
    return ops.softmax(ops.where(finite(x), scores, -np.inf))


def matrix_formula(ops: Ops, x: Any, weights: Float64, bias: Float64) -> Any:
    """Softmax of W x + b; padding stays out, and moves nothing."""
    scores = filled(ops, x) @ ops.constant("weights", weights.T) + ops.constant("bias", bias)
    return ops.softmax(ops.where(finite(x), scores, -np.inf))


def judged(fitted: F, data: FitData, solution: Solution) -> F:
    """Return a regularised fit with what a reader must know of it in ``warnings``."""
    warnings = [*not_converged(solution), *missing_classes(data)]
    if (np.argmax(fitted(data.logits), axis=1) == data.labels).all():
        warnings.append(
            "the fit predicts every calibration sample right (separable data): how confident it is depends"
            " on the regulariser only"
        )
    if data.n_samples < fitted.n_parameters:
        warnings.append(
            f"{fitted.n_parameters} parameters were fitted on {data.n_samples} samples: only the"
            " regulariser stands against overfitting"
        )
    return dataclasses.replace(fitted, warnings=tuple(warnings))
