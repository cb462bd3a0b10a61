"""Precision split: how far one model's answers move when its precision changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.metrics._outcomes import check_sample_weight
from calbench.metrics._proper_scores import SMALLEST_PROBABILITY
from calbench.records import Float64, Predictions, TopLabelPredictions, check_probs


@dataclass(frozen=True)
class PrecisionSplit:
    """How far a candidate's answers are from the reference's, item by item.

    Attributes
    ----------
    confidence_shift_mean, confidence_shift_max
        Of the absolute change of the top-1 confidence.
    flip_rate
        Share of items whose answer differs.
    flips_of
        ``"answers"``; or ``"correctness"``, where a record of the top answer does not hold its
        answers: then ``flip_rate`` is the share of items whose correctness differs, a lower bound.
    split_rate
        Share of items whose confidence moves by more than ``delta``.
    js_divergence, kl_divergence
        Means in nats, of the class vectors; ``KL(reference || candidate)``. None for records of the
        top answer only.
    delta, n
        The threshold of ``split_rate``, and the number of items.
    """

    confidence_shift_mean: float
    confidence_shift_max: float
    flip_rate: float
    flips_of: Literal["answers", "correctness"]
    split_rate: float
    js_divergence: float | None
    kl_divergence: float | None
    delta: float
    n: int


def precision_split(
    reference: Predictions | TopLabelPredictions,
    candidate: Predictions | TopLabelPredictions,
    *,
    delta: float = 0.1,
) -> PrecisionSplit:
    """Measure how far two records of one model at two precisions lie apart.

    Items are matched by id. Two records of the top answer only, or one of each kind, are compared
    by confidence and, unless both hold their answers, by correctness alone.

    Parameters
    ----------
    reference, candidate
        Records of the same items.
    delta
        A confidence that moves by more is counted in ``split_rate``.

    Raises
    ------
    InputError
        The items differ, or the class vectors have another width.

    Examples
    --------
    >>> full = Predictions(["a", "b"], [[2.0, 0.0], [0.0, 1.0]], [0, 0])
    >>> four_bit = Predictions(["b", "a"], [[0.5, 0.0], [2.0, 0.0]], [0, 0])
    >>> split = precision_split(full, four_bit, delta=0.05)
    >>> split.flip_rate, split.split_rate, round(split.confidence_shift_max, 3)
    (0.5, 0.5, 0.109)
    """
    if len(candidate) != len(reference):
        raise InputError(
            f"the reference has {len(reference)} items and the candidate {len(candidate)};"
            " take() the ids they share"
        )
    candidate = candidate.take(reference.item_ids)
    shift = np.abs(candidate.confidences - reference.confidences)
    js = kl = None
    flips_of: Literal["answers", "correctness"] = "answers"
    if isinstance(candidate, Predictions) and isinstance(reference, Predictions):
        flips = candidate.predicted != reference.predicted
        js = js_divergence(reference.probs, candidate.probs)
        kl = kl_divergence(reference.probs, candidate.probs)
    else:
        ours, theirs = getattr(candidate, "answers", None), getattr(reference, "answers", None)
        if ours is not None and theirs is not None:
            flips = ours != theirs
        else:
            flips, flips_of = candidate.correct != reference.correct, "correctness"
    return PrecisionSplit(
        confidence_shift_mean=float(shift.mean()),
        confidence_shift_max=float(shift.max()),
        flip_rate=float(flips.mean()),
        flips_of=flips_of,
        split_rate=_split_rate(shift, delta),
        js_divergence=js,
        kl_divergence=kl,
        delta=delta,
        n=len(reference),
    )


def confidence_shift(
    reference_probs: npt.ArrayLike, probs: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> tuple[float, float]:
    """Return the mean and the largest absolute change of the top-1 confidence.

    Range [0, 1] both; 0 is no change. ``reference_probs`` and ``probs`` are ``(n, k)``, of the same
    items in the same order.

    Examples
    --------
    >>> mean, largest = confidence_shift([[0.9, 0.1], [0.5, 0.5]], [[0.8, 0.2], [0.5, 0.5]])
    >>> round(mean, 12), round(largest, 12)
    (0.05, 0.1)
    """
    reference, candidate = _pair(reference_probs, probs)
    shift = np.abs(candidate.max(axis=1) - reference.max(axis=1))
    weight = check_sample_weight(sample_weight, len(shift))
    return _mean(shift, weight), float(shift[weight > 0].max())


def flip_rate(
    reference_probs: npt.ArrayLike, probs: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Return the share of items whose predicted class changes.

    Range [0, 1]; 0 is no change. Arrays as for :func:`confidence_shift`.

    Examples
    --------
    >>> flip_rate([[0.9, 0.1], [0.6, 0.4]], [[0.8, 0.2], [0.4, 0.6]])
    0.5
    """
    reference, candidate = _pair(reference_probs, probs)
    flips = candidate.argmax(axis=1) != reference.argmax(axis=1)
    return _mean(flips.astype(np.float64), check_sample_weight(sample_weight, len(flips)))


def split_rate(
    reference_probs: npt.ArrayLike,
    probs: npt.ArrayLike,
    *,
    delta: float = 0.1,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Return the share of items whose top-1 confidence moves by more than ``delta``.

    Range [0, 1]; 0 is no change. Arrays as for :func:`confidence_shift`.

    Examples
    --------
    >>> split_rate([[0.9, 0.1], [0.5, 0.5]], [[0.7, 0.3], [0.5, 0.5]])
    0.5
    """
    reference, candidate = _pair(reference_probs, probs)
    shift = np.abs(candidate.max(axis=1) - reference.max(axis=1))
    return _split_rate(shift, delta, check_sample_weight(sample_weight, len(shift)))


def kl_divergence(
    reference_probs: npt.ArrayLike, probs: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    r"""Return the mean of :math:`\sum_k q_k \ln (q_k / p_k)`, from reference ``q`` to candidate ``p``.

    Range [0, 708.4] nats; 0 is no change. A candidate's probability of 0 counts as
    :math:`2^{-1022}`. Arrays as for :func:`confidence_shift`.

    Examples
    --------
    >>> round(kl_divergence([[1.0, 0.0]], [[0.5, 0.5]]), 6)  # ln 2
    0.693147
    """
    reference, candidate = _pair(reference_probs, probs)
    weight = check_sample_weight(sample_weight, len(candidate))
    return _mean(np.maximum(_relative_entropy(reference, candidate), 0.0), weight)


def js_divergence(
    reference_probs: npt.ArrayLike, probs: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    r"""Return the mean Jensen-Shannon divergence of the class vectors.

    Range [0, ln 2] nats; 0 is no change; symmetric. Arrays as for :func:`confidence_shift`.

    References
    ----------
    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37 (1991).

    Examples
    --------
    >>> round(js_divergence([[1.0, 0.0]], [[0.0, 1.0]]), 6)  # ln 2
    0.693147
    """
    reference, candidate = _pair(reference_probs, probs)
    middle = (candidate + reference) / 2
    halves = _relative_entropy(candidate, middle) + _relative_entropy(reference, middle)
    weight = check_sample_weight(sample_weight, len(candidate))
    return _mean(np.maximum(halves / 2, 0.0), weight)


def _pair(reference_probs: npt.ArrayLike, probs: npt.ArrayLike) -> tuple[Float64, Float64]:
    reference, candidate = check_probs(reference_probs), check_probs(probs)
    if candidate.shape != reference.shape:
        raise InputError(
            f"reference_probs has shape {reference.shape} and probs {candidate.shape};"
            " pass the same items and classes"
        )
    return reference, candidate


def _relative_entropy(p: Float64, q: Float64) -> Float64:
    # Not xlogy(p, p / q), which overflows where q is the smallest number.
    terms = scipy.special.xlogy(p, p) - p * np.log(np.maximum(q, SMALLEST_PROBABILITY))
    return np.asarray(terms.sum(axis=1))


def _split_rate(shift: Float64, delta: float, weight: Float64 | None = None) -> float:
    if not 0 <= delta <= 1:
        raise InputError(f"delta={delta}; use a change of probability in [0, 1]")
    return float(np.average(shift > delta, weights=weight))


def _mean(values: Float64, weight: Float64) -> float:
    return float(weight @ values / weight.sum())
