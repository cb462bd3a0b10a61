"""What rounding does to a softmax: unit errors of the formats, and the theory behind PACS."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from calbench.errors import InputError
from calbench.predictions import Float64

_FLOATS = {"fp64": 2.0**-53, "fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8, "fp8-e4m3": 2.0**-4}


def unit_error(number_format: str) -> float:
    r"""Largest relative rounding error of a number format, PACS's ε.

    ``fp32``, ``fp16``, ``bf16`` and ``fp8-e4m3`` round to nearest with ε = 2⁻²⁴, 2⁻¹¹, 2⁻⁸ and 2⁻⁴;
    a symmetric b-bit integer ``int<b>`` spans ±(2^{b−1} − 1) steps and is off by half of one:
    ε = 1 / (2 (2^{b−1} − 1)).

    >>> unit_error("fp16") == 2**-11, round(1 / unit_error("int4"))
    (True, 14)
    """
    if number_format in _FLOATS:
        return _FLOATS[number_format]
    match = re.fullmatch(r"int(\d+)", number_format)
    if match is None or int(match[1]) < 2:
        raise InputError(
            f"no unit error is known for {number_format!r}; use {', '.join(_FLOATS)} or int<bits>"
        )
    return 0.5 / float(2 ** (int(match[1]) - 1) - 1)


def distortion_bound(probs: npt.ArrayLike, norms: npt.ArrayLike, *, epsilon: float) -> Float64:
    r"""First-order bound on how far rounding the logits moves a probability.

    If every logit moves by at most ε‖z‖, then |Δp| ≤ 2 p (1 − p) ε ‖z‖.

    Parameters
    ----------
    probs, norms
        Probabilities and norms of their (centred) logits; they broadcast.
    epsilon
        Unit error.

    >>> distortion_bound(0.5, 2.0, epsilon=0.1).item()
    0.1
    """
    p = np.asarray(probs, dtype=np.float64)
    return 2 * p * (1 - p) * epsilon * np.asarray(norms, dtype=np.float64)


def peak_distortion() -> tuple[float, float]:
    """Binary margin m and probability at which p(1 − p) m, the effect of a relative error, peaks.

    The derivative vanishes where m tanh(m / 2) = 1: confident, but not saturated.

    >>> [round(x, 3) for x in peak_distortion()]
    [1.543, 0.824]
    """
    margin = brentq(lambda m: m * np.tanh(m / 2) - 1, 1, 2, xtol=1e-15)
    return float(margin), float(1 / (1 + np.exp(-margin)))


def underflow_margin(n_classes: int, *, unit: float) -> float:
    """Margin over equal rivals beyond which 1 − p rounds to 0, ln((K − 1) / u), and gradients with it.

    >>> round(underflow_margin(2, unit=2**-12), 2), round(underflow_margin(2, unit=2**-9), 2)
    (8.32, 6.24)
    """
    return float(np.log((n_classes - 1) / unit))
