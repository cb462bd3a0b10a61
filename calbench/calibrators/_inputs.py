"""The one place where calibrators check what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.calibrators._interface import CalibrationContext
from calbench.errors import InputError
from calbench.records import FloatArray, Int64, check_labels

# Rows are worked through in blocks of about this many bytes, so that a fit on 50,000 x 1,000
# float32 logits never holds a float64 copy of them, and a block stays in the processor's cache.
BLOCK = 1 << 20
_PADDING = -1e30


@dataclass(frozen=True, eq=False)
class FitData:
    """Checked data of a calibration split.

    ``logits`` ``(n, k)`` keeps its dtype; ``-inf`` marks options that an item does not have, and
    ``padded`` says that there are any. ``extent`` is the largest absolute logit (inf if padded).
    """

    logits: FloatArray
    labels: Int64
    extent: float

    @property
    def padded(self) -> bool:
        """Whether items differ in their options."""
        return self.extent == np.inf

    @cached_property
    def largest(self) -> FloatArray:
        """Each row's largest logit, ``(n,)``."""
        largest: FloatArray = self.logits.max(axis=1)
        return largest

    @cached_property
    def targets(self) -> FloatArray:
        """Each row's logit of its label, ``(n,)``."""
        targets: FloatArray = self.logits[np.arange(self.n_samples), self.labels]
        return targets

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def n_classes(self) -> int:
        """Number of columns."""
        return int(self.logits.shape[1])

    def every(self, step: int) -> FitData:
        """Return each ``step``-th row."""
        rows = slice(None, None, step)
        return FitData(self.logits[rows], self.labels[rows], self.extent)

    def blocks(
        self, *, scale: float = np.inf, dtype: type[np.floating[Any]] = np.float64
    ) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Yield blocks of rows, their logits less their row's largest, and of these that of the label.

        The logits are in the precision asked for, and neither to be written to nor to be kept.
        Padding becomes a large negative number: its exponential is 0, and 0 times it is 0. Nothing
        is taken off where exponentials of ``scale`` times the logits are safe as they are: finding
        each row's largest costs as much as taking exponentials.
        """
        # In single precision e**35 leaves room for a fifth power and a sum.
        safe = self.extent * scale < (300 if dtype is np.float64 else 35)
        rows = max(1, BLOCK // np.dtype(dtype).itemsize // self.n_classes)
        # Arithmetic on rows that lie apart costs more than to copy them.
        copied = not safe or self.logits.dtype != dtype or not self.logits.flags.c_contiguous
        copy = np.empty((min(rows, self.n_samples) if copied else 0, self.n_classes), dtype)
        for start in range(0, self.n_samples, rows):
            block = slice(start, start + rows)
            z, target = self.logits[block], self.targets[block].astype(dtype)
            if copied:
                np.copyto(copy[: len(z)], z)
                z = copy[: len(z)]
            if not safe:
                z -= self.largest[block, None]
                target -= self.largest[block]
            if self.padded:
                np.maximum(z, _PADDING, out=z)
            yield block, z, target


def check_logits(logits: npt.ArrayLike, n_classes: int | None = None) -> FloatArray:
    """Return logits ``(n, k)`` as a floating array, uncopied if they are one, or raise.

    Raises
    ------
    InputError
        Wrong shape, NaN or +inf (the row is named), a row without a finite value, or another
        number of classes than ``n_classes``.
    """
    return _check(logits, n_classes)[0]


def _check(logits: npt.ArrayLike, n_classes: int | None) -> tuple[FloatArray, float]:
    """Return checked logits, and the largest absolute one: inf where there is padding."""
    try:
        values = np.asarray(logits)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's are RuntimeErrors
        raise InputError(
            f"logits is not a rectangular array of numbers ({error}); pad ragged option counts with -inf"
        ) from None
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(f"logits has shape {values.shape}; pass (n_samples, n_classes), 2 classes or more")
    if len(values) == 0:
        raise InputError("logits is empty; there is nothing to calibrate")
    if n_classes is not None and values.shape[1] != n_classes:
        raise InputError(
            f"logits has {values.shape[1]} classes but {n_classes} are expected; a method with parameters"
            " per class can only be used with the classes it was fitted on"
        )
    extent = _extent(values)
    if extent < np.inf:
        return values, extent
    largest = values.max(axis=1)
    bad = ~np.isfinite(largest)
    if bad.any():
        row = int(np.argmax(bad))
        wrong = "is -inf throughout" if largest[row] == -np.inf else "holds NaN or +inf"
        raise InputError(f"logits[{row}] {wrong}; drop or mend the row (only -inf may pad it)")
    return values, extent


def check_fit(
    logits: npt.ArrayLike, labels: npt.ArrayLike, context: CalibrationContext | None = None
) -> FitData:
    """Return a calibration split's logits and labels, checked, or raise.

    Raises
    ------
    InputError
        As :func:`check_logits`; labels of another length, out of range or pointing at padding;
        one class only; logits that are the same for every class of every row.
    """
    values, extent = _check(logits, context.n_classes if context else None)
    checked = check_labels(labels, len(values), values.shape[1])
    padded = values[np.arange(len(values)), checked] == -np.inf
    if padded.any():
        row = int(np.argmax(padded))
        raise InputError(
            f"labels[{row}] = {checked[row]} points at an option whose logit is -inf;"
            " the right answer must be among the item's options"
        )
    if (checked == checked[0]).all():
        raise InputError(
            f"all {len(checked)} labels of the calibration split are {checked[0]}; a calibrator needs"
            " two classes or more: use a larger or stratified split"
        )
    if not _any_spread(values):
        raise InputError(
            "every row of logits is constant over its classes, so the model says nothing;"
            " there is no confidence to calibrate"
        )
    return FitData(values, checked, extent)


def missing_classes(data: FitData) -> tuple[str, ...]:
    """Word the warning for classes that no label names; empty if there are none."""
    missing = np.flatnonzero(np.bincount(data.labels, minlength=data.n_classes) == 0)
    if not len(missing):
        return ()
    shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    warning = (
        f"no calibration sample is of class {shown}: its bias is held by the regulariser only;"
        " use a larger or stratified split"
    )
    return (warning,)


def check_enough(data: FitData, n_parameters: int, name: str) -> None:
    """Raise :class:`InputError` if there are fewer samples than unregularised parameters."""
    if data.n_samples < n_parameters:
        raise InputError(
            f"{name} has {n_parameters} parameters for {data.n_classes} classes but the calibration split"
            f" has {data.n_samples} samples; use at least {n_parameters}, or temperature"
        )


def _any_spread(logits: FloatArray) -> bool:
    rows = max(1, 4096 // logits.shape[1])  # small blocks: the first one answers, as a rule
    for start in range(0, len(logits), rows):
        block = logits[start : start + rows]
        if ((block < block.max(axis=1, keepdims=True)) & (block > -np.inf)).any():
            return True
    return False


def check_strength(name: str, value: object, *, positive: bool = False) -> None:
    """Raise :class:`InputError` unless a regularisation strength is a number ≥ 0 (or > 0)."""
    good = isinstance(value, int | float) and 0 <= value < np.inf and (value > 0 or not positive)
    if not good:
        raise InputError(f"{name} is {value!r}; use a number {'> 0' if positive else '>= 0'}")


def _extent(logits: FloatArray) -> float:
    """Return the largest absolute value; inf if there is NaN anywhere."""
    high, low = float(logits.max()), float(logits.min())
    return np.inf if np.isnan(high) else max(abs(high), abs(low))
