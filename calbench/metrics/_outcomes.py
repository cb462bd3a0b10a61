"""What a metric's formula reads: the checked arrays of one model's answers to a set of items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.records import (
    Bool,
    Float64,
    Int64,
    Predictions,
    TopLabelPredictions,
    check_confidences,
    check_correct,
    check_labels,
    check_probs,
    checked_distribution,
)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Answers to ``n`` items, checked once; metrics, resamples and gates are functions of it.

    Build it with :meth:`from_probs`, :meth:`from_top_label` or :meth:`from_record`.

    Attributes
    ----------
    confidences : (n,) float64
        Probability of the predicted class, in [0, 1].
    correct : (n,) bool
        Whether the predicted class is the label.
    class_probs, class_labels, class_predicted : arrays or None
        The class vectors ``(n, k)``, labels and predicted classes ``(n,)``; None if only the top
        answer is known.
    label_distribution : (n, k) float64 or None
        Shares of the classes among those who labelled an item.
    """

    confidences: Float64
    correct: Bool
    class_probs: Float64 | None = None
    class_labels: Int64 | None = None
    class_predicted: Int64 | None = None
    label_distribution: Float64 | None = None

    @classmethod
    def from_probs(
        cls, probs: npt.ArrayLike, labels: npt.ArrayLike, *, label_distribution: npt.ArrayLike | None = None
    ) -> Outcomes:
        """Check ``probs (n, k)`` and ``labels (n,)``; the first of tied classes is the prediction."""
        values = check_probs(probs)
        targets = check_labels(labels, *values.shape)
        made = cls._of(values, targets, np.argmax(values, axis=1))
        return replace(made, label_distribution=checked_distribution(label_distribution, *values.shape))

    @classmethod
    def from_distribution(cls, probs: npt.ArrayLike, distribution: npt.ArrayLike) -> Outcomes:
        """Check ``probs (n, k)`` and the shares of the classes ``(n, k)``; labels ``(n,)`` are all of one."""
        values, shares = check_probs(probs), np.asarray(distribution)
        if shares.ndim == 1:
            shares = np.eye(values.shape[1])[check_labels(shares, *values.shape)]
        return cls.from_probs(values, np.argmax(shares, axis=1), label_distribution=shares)

    @classmethod
    def from_top_label(cls, confidences: npt.ArrayLike, correct: npt.ArrayLike) -> Outcomes:
        """Check top-1 ``confidences (n,)`` and whether they were ``correct (n,)``."""
        values = check_confidences(confidences)
        return cls(values, check_correct(correct, len(values)))

    @classmethod
    def from_record(cls, record: Predictions | TopLabelPredictions) -> Outcomes:
        """Read a record, its rows sorted by item id, so that file order changes nothing."""
        order = np.argsort(record.item_ids)
        if isinstance(record, Predictions):
            shares = record.label_distribution
            made = cls._of(record.probs[order], record.labels[order], record.predicted[order])
            return made if shares is None else replace(made, label_distribution=shares[order])
        return cls(record.confidences[order], record.correct[order])

    @classmethod
    def _of(cls, probs: Float64, labels: Int64, winners: npt.NDArray[np.intp]) -> Outcomes:
        predicted: Int64 = winners.astype(np.int64, copy=False)
        top = np.take_along_axis(probs, predicted[:, None], axis=1)[:, 0]
        return cls(np.minimum(top, 1.0), predicted == labels, probs, labels, predicted)

    def __len__(self) -> int:
        return len(self.confidences)

    @cached_property
    def gaps(self) -> Float64:
        """Confidence minus correctness, ``(n,)``; its weighted mean is the overconfidence gap."""
        return self.confidences - self.correct

    @property
    def has_class_vector(self) -> bool:
        """Whether the probability of every class is known, not only that of the top one."""
        return self.class_probs is not None

    @property
    def probs(self) -> Float64:
        """Class vectors ``(n, k)``."""
        return _present(self.class_probs)

    @property
    def labels(self) -> Int64:
        """0-based right classes ``(n,)``."""
        return _present(self.class_labels)

    @cached_property
    def shares(self) -> Float64:
        """Share of each class among those who labelled an item ``(n, k)``."""
        if self.label_distribution is None:
            raise InputError(
                "it is not known how many people gave each class; give the record its label_distribution="
            )
        return self.label_distribution

    @cached_property
    def soft_gaps(self) -> Float64:
        """Confidence minus the share of those who gave the predicted class, ``(n,)``."""
        gaps: Float64 = self.confidences - self.shares[np.arange(len(self)), self.predicted]
        return gaps

    @property
    def predicted(self) -> Int64:
        """Predicted classes ``(n,)``; the first wins a tie."""
        return _present(self.class_predicted)


def check_sample_weight(sample_weight: npt.ArrayLike | None, n_samples: int) -> Float64:
    """Return weights ``(n,)`` as float64 (ones for None), or say which one cannot be used."""
    if sample_weight is None:
        return np.ones(n_samples)
    try:
        values = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_weight is not an array of numbers: {error}") from None
    if values.shape != (n_samples,):
        raise InputError(f"sample_weight has shape {values.shape}; expected ({n_samples},)")
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"sample_weight[{row}] = {values[row]}; weights are finite and not negative")
    if not values.any():
        raise InputError("sample_weight is zero throughout; give at least one item some weight")
    return values


def _present(array: npt.NDArray[np.generic] | None) -> npt.NDArray:  # type: ignore[type-arg]
    if array is None:
        raise InputError(
            "only the top answer's confidence is known here; a metric that needs the probability of"
            " every class cannot be computed: use a Predictions record, or a top-label metric"
        )
    return array
