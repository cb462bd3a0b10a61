"""Smooth calibration error: no bins, and a bandwidth that the data choose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from calbench.metrics._outcomes import Outcomes
from calbench.metrics._registration import CONFIDENCE, formula
from calbench.records import Float64

_DEPOSIT_CELLS = 8192  # fine, because it decides how exactly the items' places are kept
_CELLS = 2048  # of the smoothed curve
_SMALLEST_BANDWIDTH = 2.0 / _CELLS
_TOLERANCE = 1e-10
_MAX_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class _SmoothError:
    """The fixed point of bandwidth and smoothed error, for each weighting of the items.

    The Gaussian kernel reflected at 0 and 1 is diagonal in cosines: smoothing with bandwidth s
    multiplies the k-th coefficient of the residuals by exp(-(k pi s)² / 2). So the items are read
    once, and each trial bandwidth costs one cosine transform of a fixed length.
    """

    deposit: scipy.sparse.csr_array

    @classmethod
    def of(cls, items: Outcomes) -> _SmoothError:
        place = items.confidences * _DEPOSIT_CELLS - 0.5
        left = np.floor(place).astype(np.intp)
        share = place - left
        cells = np.clip(np.concatenate([left, left + 1]), 0, _DEPOSIT_CELLS - 1)
        values = np.concatenate([items.gaps * (1 - share), items.gaps * share])
        rows = np.tile(np.arange(len(items)), 2)
        return cls(scipy.sparse.csr_array((values, (cells, rows)), shape=(_DEPOSIT_CELLS, len(items))))

    def __call__(self, weights: Float64) -> Float64:
        residuals = (self.deposit @ weights / weights.sum(axis=0)).T
        coefficients = scipy.fft.dct(residuals, axis=1)[:, :_CELLS] / 2
        k = np.arange(_CELLS)
        # Sharing an item between two cells blurs it; on average that is undone here.
        coefficients /= 1 - (np.pi * k / _DEPOSIT_CELLS) ** 2 / 12
        return _fixed_point(coefficients)


def _smoothed_error(coefficients: Float64, bandwidth: Float64) -> Float64:
    k = np.arange(coefficients.shape[1])
    damped = coefficients * np.exp(-((np.pi * k * bandwidth[:, None]) ** 2) / 2)
    return np.asarray(np.abs(scipy.fft.dct(damped, type=3, axis=1)).mean(axis=1))


def _fixed_point(coefficients: Float64) -> Float64:
    """Solve error(s) = s by the Illinois method; the error falls with s, so there is one solution."""
    low = np.full(len(coefficients), _SMALLEST_BANDWIDTH)
    high = np.ones(len(coefficients))
    f_low = _smoothed_error(coefficients, low) - low
    f_high = _smoothed_error(coefficients, high) - high
    # At the resolution's limit the error is its own answer: there is nothing left to balance.
    solution = np.where(f_low <= 0, f_low + low, 1.0)
    open_ = np.flatnonzero((f_low > 0) & (f_high < 0))
    last_side = np.zeros(len(coefficients))
    for _ in range(_MAX_ITERATIONS):
        if not len(open_):
            break
        a, b, fa, fb = low[open_], high[open_], f_low[open_], f_high[open_]
        middle = (a * fb - b * fa) / (fb - fa)
        value = _smoothed_error(coefficients[open_], middle) - middle
        up = value > 0
        low[open_], f_low[open_] = np.where(up, middle, a), np.where(up, value, fa)
        high[open_], f_high[open_] = np.where(up, b, middle), np.where(up, fb, value)
        side = np.where(up, 1.0, -1.0)
        again = side == last_side[open_]
        f_high[open_] = np.where(again & up, f_high[open_] / 2, f_high[open_])
        f_low[open_] = np.where(again & ~up, f_low[open_] / 2, f_low[open_])
        last_side[open_] = side
        solution[open_] = middle
        open_ = open_[np.abs(value) > _TOLERANCE]
    return solution


@formula(
    "smece",
    range=(0, 1),
    definition={"confidence": CONFIDENCE, "kernel": "Gaussian reflected at 0 and 1"},
    biased=True,
)
def smooth_calibration_error(outcomes: Outcomes) -> _SmoothError:
    r"""Gap between confidence and accuracy, smoothed with a kernel whose width equals the result.

    Range [0, 1]; lower is better; continuous in the predictions, unlike binned errors. The unique
    :math:`\sigma` with :math:`\int_0^1 \big|\frac1n \sum_i K_\sigma(t, c_i)(c_i - [\hat y_i = y_i])\big| dt =
    \sigma`, :math:`K_\sigma` being the Gaussian kernel reflected at 0 and 1. Widths below 1/1024 are not
    resolved. Parameters are those of :func:`accuracy`.

    Raises
    ------
    InputError
        The message names the row and the remedy.

    References
    ----------
    Błasiok & Nakkiran, "Smooth ECE", ICLR 2024, def. 8 (arXiv:2309.12236).

    Examples
    --------
    >>> round(smooth_calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1]), 6)
    0.0
    >>> round(smooth_calibration_error([[0.9, 0.1]] * 4, [0, 0, 1, 1]), 6)
    0.4
    """
    return _SmoothError.of(outcomes)
