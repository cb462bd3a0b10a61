"""What rounding the logits can do to probabilities, by hand-derived bounds.

A quantizer with unit error ``epsilon`` moves each logit by up to ``epsilon * ||z||``, z being the
centred logits. To first order the top probability p then moves by at most ``2 p (1 - p) epsilon ||z||``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.records import Float64, Predictions, softmax

# Half the distance from 1 to the number below it: what is nearer to 1 rounds to 1.
UNIT_BELOW_ONE = {"float16": 2.0**-12, "bfloat16": 2.0**-9, "float32": 2.0**-25, "float64": 2.0**-54}

_UNIT_ERROR = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


def centred_norm(logits: npt.ArrayLike) -> Float64:
    """Return the Euclidean norm of each row's logits less their mean, ``(n,)``; padding is left out.

    Examples
    --------
    >>> centred_norm([[3.0, 1.0, -np.inf]]).round(6).tolist()
    [1.414214]
    """
    centred, _ = _centred(_logits(logits))
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", centred, centred)))


def probability_shift_bound(logits: npt.ArrayLike, *, epsilon: float) -> Float64:
    r"""Return the first-order bound :math:`2 p (1 - p) \epsilon \lVert\tilde z\rVert_2`, ``(n,)``.

    Parameters
    ----------
    logits : (n, k) float
        ``-inf`` pads.
    epsilon
        The quantizer's unit error.

    Examples
    --------
    >>> probability_shift_bound([[1.0, -1.0]], epsilon=0.01).round(6).tolist()
    [0.00297]
    """
    if not epsilon >= 0:
        raise InputError(f"epsilon={epsilon}; a unit error is not negative")
    probs = softmax(_logits(logits))
    top = probs.max(axis=1)
    return np.asarray(2 * top * _rest(probs) * epsilon * centred_norm(logits))


def peak_distortion() -> tuple[float, float]:
    r"""Return the binary margin m, and its probability, at which a relative logit error does most.

    :math:`p (1 - p) m` peaks where :math:`m \tanh(m / 2) = 1`: confident, but not saturated.

    Examples
    --------
    >>> [round(x, 3) for x in peak_distortion()]
    [1.543, 0.824]
    """
    margin = scipy.optimize.brentq(lambda m: m * np.tanh(m / 2) - 1, 1, 2, xtol=1e-15)
    return float(margin), float(1 / (1 + np.exp(-margin)))


def underflow_margin(n_classes: int, dtype: str) -> float:
    r"""Return the logit margin beyond which the gradient of a right answer underflows to 0.

    :math:`\ln((K - 1) / u)`: there, with the other classes alike, :math:`1 - p` is below half a unit
    in the last place of 1, and the top probability rounds to exactly 1.

    Parameters
    ----------
    n_classes
        K.
    dtype
        ``"float16"``, ``"bfloat16"``, ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> round(underflow_margin(2, "float16"), 2), round(underflow_margin(1000, "bfloat16"), 2)
    (8.32, 13.15)
    """
    if n_classes < 2:
        raise InputError(f"n_classes={n_classes}; a margin needs at least 2")
    return math.log((n_classes - 1) / _unit(dtype))


def underflow_fraction(logits: npt.ArrayLike, *, dtype: str) -> float:
    """Return the share of items whose top probability rounds to 1 in a dtype: their gradient is gone.

    Range [0, 1]. ``logits`` is ``(n, k)``; dtypes are those of :func:`underflow_margin`.

    Examples
    --------
    >>> underflow_fraction([[8.0, 0.0], [9.0, 0.0]], dtype="float16")
    0.5
    """
    return float((_rest(softmax(_logits(logits))) < _unit(dtype)).mean())


@dataclass(frozen=True, eq=False)
class ShiftByNorm:
    """Observed change of the top probability against its first-order bound, per item.

    Attributes
    ----------
    logit_error : (n,) float64
        ``epsilon * ||z||``, from the reference's logits.
    shift : (n,) float64
        Absolute change of the probability of the reference's predicted class.
    bound : (n,) float64
        First-order bound of the shift.
    """

    logit_error: Float64
    shift: Float64
    bound: Float64

    @property
    def share_within(self) -> float:
        """Share of items whose shift is within the bound."""
        return float((self.shift <= self.bound).mean())


def shift_by_norm(reference: Predictions, candidate: Predictions, *, epsilon: float) -> ShiftByNorm:
    """Return how far each item's confidence moved, beside the bound that the quantizer's error gives.

    Items are matched by id and come in the reference's order.
    """
    if len(candidate) != len(reference):
        raise InputError(f"the reference has {len(reference)} items and the candidate {len(candidate)}")
    aligned = candidate.take(reference.item_ids)
    if aligned.n_classes != reference.n_classes:
        raise InputError(f"the records have {aligned.n_classes} and {reference.n_classes} classes")
    top = reference.predicted[:, None]
    moved = np.take_along_axis(aligned.probs, top, 1) - np.take_along_axis(reference.probs, top, 1)
    bound = probability_shift_bound(reference.logits, epsilon=epsilon)
    return ShiftByNorm(epsilon * centred_norm(reference.logits), np.abs(moved[:, 0]), bound)


def shift_by_rounding(reference: Predictions, *, dtype: str) -> ShiftByNorm:
    """Return how far each item's confidence moves when its centred logits are rounded to a dtype.

    The unit error is the dtype's own, so that this is the case that the bound is made for.

    Parameters
    ----------
    reference
        Logits of any precision.
    dtype
        ``"float16"`` or ``"bfloat16"``.

    Examples
    --------
    >>> record = Predictions(["a"], [[1.2345, -1.2345]], [0])
    >>> found = shift_by_rounding(record, dtype="bfloat16")
    >>> bool(0 < found.shift[0] <= found.bound[0])
    True
    """
    if dtype not in _UNIT_ERROR:
        raise InputError(f"dtype={dtype!r} is not one of {', '.join(_UNIT_ERROR)}")
    centred, real = _centred(_logits(reference.logits))
    candidate, exact = (
        Predictions(reference.item_ids, np.where(real, values, -np.inf), reference.labels)
        for values in (_rounded(centred, dtype), centred)
    )
    return shift_by_norm(exact, candidate, epsilon=_UNIT_ERROR[dtype])


def _centred(z: Float64) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Return logits less their row's mean, 0 where padded, and where they are not; both ``(n, k)``."""
    real = np.isfinite(z)
    filled = np.where(real, z, 0.0)
    means = filled.sum(axis=1) / real.sum(axis=1)
    return np.where(real, filled - means[:, None], 0.0), real


def _rounded(values: Float64, dtype: str) -> Float64:
    """Round to nearest, ties to even, and widen again."""
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float64)
    bits = values.astype(np.float32).view(np.uint32)
    # bfloat16 is the upper half of a float32: add half of the lower half's range, and cut.
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


def _logits(logits: npt.ArrayLike) -> Float64:
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] < 2 or len(z) == 0:
        raise InputError(f"logits has shape {z.shape}; pass (n_samples, n_classes), 2 classes or more")
    bad = np.isnan(z).any(axis=1) | (z == np.inf).any(axis=1) | ~np.isfinite(z).any(axis=1)
    if bad.any():
        raise InputError(f"logits[{int(np.argmax(bad))}] holds NaN or +inf, or only padding; mend the row")
    return z


def _rest(probs: Float64) -> Float64:
    """Add up all but the top probability: 1 - top would lose what is below 2**-53."""
    ordered = np.sort(probs, axis=1)
    return np.asarray(ordered[:, :-1].sum(axis=1))


def _unit(dtype: str) -> float:
    if dtype not in UNIT_BELOW_ONE:
        raise InputError(f"dtype={dtype!r} is not one of {', '.join(UNIT_BELOW_ONE)}")
    return UNIT_BELOW_ONE[dtype]
