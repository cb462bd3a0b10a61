"""Fuzzy-gated calibration: an affine map of log-probabilities that changes smoothly with confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from calbench.calibrators import calibrator
from calbench.calibrators._array_ops import NUMPY, Ops, filled, finite, log_softmax
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import (
    FitData,
    check_enough,
    check_fit,
    check_logits,
    check_strength,
    missing_classes,
)
from calbench.calibrators._interface import CalibrationContext
from calbench.calibrators._temperature import fit_temperature
from calbench.calibrators.fuzzy._loss import LossWeights
from calbench.calibrators.fuzzy._model import N_REGIONS, LabelWise, MatrixWise
from calbench.calibrators.fuzzy._training import train
from calbench.errors import InputError
from calbench.records import Float64, Strings

SOURCE = "fuzzy-gated log-space affine calibration (MLSP 2026)"
TERMS = ("low", "moderate", "high")
_MAX_MATRIX_CLASSES = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedFuzzy(Fitted):
    """softmax(u), u_k = Σ_r μ_kr (a_kr log p_k + b_kr), or with a matrix a region.

    Parameters
    ----------
    centres, widths
        Of the Gaussian memberships: ``(r, k)`` over each class's probability, or (matrix form)
        ``(r, 1)`` over the largest. Regions are in ascending order of their centres.
    weights
        a ``(r, k)``, or W ``(r, k, k)``.
    biases
        b ``(r, k)``.
    """

    calibrator = "fuzzy"
    centres: Float64
    widths: Float64
    weights: Float64
    biases: Float64

    def problems(self) -> Problems:
        """What its parameters must keep."""
        k, r = self.n_classes, N_REGIONS
        columns = k if self.weights.ndim == 2 else 1
        yield (
            self.centres.shape == self.widths.shape == (r, columns),
            "centres and widths are not of its form",
        )
        yield self.weights.shape in ((r, k), (r, k, k)), f"weights are not of {k} classes"
        yield self.biases.shape == (r, k), f"biases are not of {k} classes"
        yield bool((self.widths > 0).all()), "a width is not above 0"

    @property
    def n_parameters(self) -> int:
        """20 a class (60 for three), or 5 (k² + k + 2)."""
        return sum(part.size for part in (self.centres, self.widths, self.weights, self.biases))

    def formula(self, ops: Ops, z: Any) -> Any:
        """Mix the regions' affine maps by their memberships."""
        log_probs = log_softmax(ops, z)
        known = filled(ops, log_probs)
        gates = self.gates(ops, log_probs)
        scores: Any = 0.0
        for r, gate in enumerate(gates):
            weights = ops.constant(f"weights_{r}", self.weights[r].T)
            mapped = known * weights if self.weights.ndim == 2 else known @ weights
            scores = scores + gate * (mapped + ops.constant(f"biases_{r}", self.biases[r]))
        return ops.softmax(ops.where(finite(z), scores, -np.inf))

    def gates(self, ops: Ops, log_probs: Any) -> list[Any]:
        """Normalised memberships of each region, ``(n, k)`` or (matrix form) ``(n, 1)``."""
        p = ops.exp(log_probs if self.weights.ndim == 2 else ops.max(log_probs))
        exponents = []
        for r in range(N_REGIONS):
            away = (p - ops.constant(f"centres_{r}", self.centres[r])) / ops.constant(
                f"widths_{r}", self.widths[r]
            )
            exponents.append(-0.5 * away * away)
        largest = exponents[0]
        for exponent in exponents[1:]:
            largest = ops.maximum(largest, exponent)
        raw = [ops.exp(exponent - largest) for exponent in exponents]
        total: Any = 0.0
        for gate in raw:
            total = total + gate
        return [gate / total for gate in raw]

    def memberships(self, logits: npt.ArrayLike) -> Float64:
        """Degrees ``(n, 3)`` to which each item's confidence is low, moderate and high; rows sum to 1.

        They are the predicted class's memberships in the two lowest regions, the middle one and the
        two highest.
        """
        z = check_logits(logits, self.n_classes).astype(np.float64)
        gates = np.stack(self.gates(NUMPY, log_softmax(NUMPY, z)))
        if self.weights.ndim == 2:
            gates = gates[:, np.arange(len(z)), z.argmax(axis=1)]
        gates = gates.reshape(N_REGIONS, len(z))
        return np.stack([gates[:2].sum(axis=0), gates[2], gates[3:].sum(axis=0)], axis=1)

    def terms(self, logits: npt.ArrayLike) -> Strings:
        """Confidence of each item in a word, ``(n,)``: the term of the highest degree."""
        return np.asarray(np.array(TERMS)[self.memberships(logits).argmax(axis=1)])


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedFuzzyInt4(FittedFuzzy):
    """As :class:`FittedFuzzy`, trained with simulated quantization noise."""

    calibrator = "fuzzy_int4"


F = TypeVar("F", bound=FittedFuzzy)


@calibrator("fuzzy")
@dataclass(frozen=True)
class Fuzzy(Method):
    r"""Fuzzy-gated log-space affine calibration.

    Each class k has five Gaussian membership functions of its probability, normalised to sum to
    one, and in each region r an affine map of the log-probability:

    .. math:: u_k = \sum_r μ_{kr}(p_k) (a_{kr} \log p_k + b_{kr}), \quad q = \mathrm{softmax}(u)

    that is 20 parameters a class. With ``form="matrix"`` a region has a full matrix and bias, and
    the memberships are of the largest probability. All are trained together from evenly spaced
    regions and ordinary temperature scaling, by L-BFGS on

    .. math:: \mathrm{NLL} + λ_1 \, \mathrm{soft\ ECE} + λ_2 \, \mathrm{classwise\ soft\ ECE}
        + λ_3 \, \mathrm{Brier}

    (see :func:`calbench.calibrators.fuzzy._loss.soft_calibration_error`), plus 1e-4/2 times the
    squared distance of the affine parts from the identity. The loss is not convex: the result is a
    local minimum, and no worse than the temperature it starts from. Fitted objects also put
    confidence in words, ``fitted.terms(logits)`` and ``fitted.memberships(logits)``.

    Parameters
    ----------
    form
        ``"label_wise"`` or ``"matrix"`` (up to 100 classes).
    soft_ece, classwise_soft_ece, brier
        λ₁, λ₂ and λ₃, all ≥ 0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(600, 3)) * 3
    >>> y = np.array([rng.choice(3, p=p) for p in NUMPY.softmax(z / 2)])
    >>> fitted = Fuzzy().fit(z, y)
    >>> fitted.n_parameters, fitted.terms([[9.0, 0.0, 0.0]]).tolist()
    (60, ['high'])
    """

    fit_type = FittedFuzzy
    source = SOURCE

    form: Literal["label_wise", "matrix"] = "label_wise"
    soft_ece: float = 1.0
    classwise_soft_ece: float = 1.0
    brier: float = 0.1

    def __post_init__(self) -> None:
        _check_options(self.form, self.soft_ece, self.classwise_soft_ece, self.brier)

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedFuzzy:
        """Train; raises :class:`InputError` with fewer samples than parameters."""
        data = check_fit(logits, labels, context)
        weights = LossWeights(self.soft_ece, self.classwise_soft_ece, self.brier)
        return _fit(FittedFuzzy, data, self.form, weights, noise=None)


@calibrator("fuzzy_int4")
@dataclass(frozen=True)
class FuzzyInt4(Method):
    r"""As :class:`Fuzzy`, trained against the noise that quantizing the logits would add.

    In every training step a fresh uniform noise of half a quantization step either way is added to
    the logits; a step is max|z̃| / (2^{bits−1} − 1) of the centred logits z̃. Since the objective
    changes at each step the optimiser is Adam, with a falling rate. Nothing is added when the fit is
    used. The noise is drawn row by row from ``context.rng``, so the same rows in another order are another
    fit, whose confidences can differ by some hundredths: keep an order that means something, as records
    do, whose rows are sorted by item id.

    Parameters
    ----------
    form, soft_ece, classwise_soft_ece, brier
        As for :class:`Fuzzy`.
    bits
        Of the simulated symmetric integer format.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(100, 2)) * 3
    >>> y = np.array([rng.choice(2, p=p) for p in NUMPY.softmax(z / 2)])
    >>> FuzzyInt4().fit(z, y).n_parameters
    40
    """

    fit_type = FittedFuzzyInt4
    source = SOURCE

    form: Literal["label_wise", "matrix"] = "label_wise"
    soft_ece: float = 1.0
    classwise_soft_ece: float = 1.0
    brier: float = 0.1
    bits: int = 4

    def __post_init__(self) -> None:
        _check_options(self.form, self.soft_ece, self.classwise_soft_ece, self.brier)
        if not isinstance(self.bits, int) or self.bits < 2:
            raise InputError(f"fuzzy_int4: bits is {self.bits!r}; use an integer from 2 up")

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedFuzzyInt4:
        """Train; raises :class:`InputError` with fewer samples than parameters."""
        data = check_fit(logits, labels, context)
        weights = LossWeights(self.soft_ece, self.classwise_soft_ece, self.brier)
        noise = self.bits, (context or CalibrationContext()).rng
        return _fit(FittedFuzzyInt4, data, self.form, weights, noise=noise)


def _fit(kind: type[F], data: FitData, form: str, weights: LossWeights, *, noise: Any) -> F:
    k = data.n_classes
    if form == "matrix" and k > _MAX_MATRIX_CLASSES:
        raise InputError(
            f"fuzzy: the matrix form has {5 * (k * k + k + 2)} parameters for {k} classes;"
            f" use form='label_wise' above {_MAX_MATRIX_CLASSES} classes"
        )
    model = LabelWise(k) if form == "label_wise" else MatrixWise(k)
    start = model.start(fit_temperature(data)[0])
    check_enough(data, len(start), "fuzzy")
    x, warnings = train(model, start, data, weights, noise=noise)
    if isinstance(model, LabelWise):
        centres, log_widths, slopes, biases = model.unpack(x)
        order = np.argsort(centres, axis=0)
        parts = [np.take_along_axis(part, order, axis=0) for part in (centres, log_widths, slopes, biases)]
    else:
        centres, log_widths, slopes, biases = model.unpack(x)
        order = np.argsort(centres)
        parts = [centres[order, None], log_widths[order, None], slopes[order], biases[order]]
    return kind(
        centres=parts[0].copy(),
        widths=np.exp(parts[1]),
        weights=parts[2].copy(),
        biases=parts[3].copy(),
        n_classes=k,
        warnings=missing_classes(data) + warnings,
    )


def _check_options(form: str, *strengths: float) -> None:
    if form not in ("label_wise", "matrix"):
        raise InputError(f"fuzzy: form is {form!r}; use 'label_wise' or 'matrix'")
    for name, strength in zip(("soft_ece", "classwise_soft_ece", "brier"), strengths, strict=True):
        check_strength(f"fuzzy: {name}", strength)
