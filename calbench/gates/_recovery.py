r"""How much of what quantization cost an adapter gives back.

.. math:: \frac{m_{ptq} - m_{kd}}{m_{ptq} - m_{ref}}

for a metric of which less is better: 1 is all of it, 0 nothing, below 0 makes it worse. The fraction
means something only where quantization cost something; it is refused where that is not shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from calbench.errors import InputError
from calbench.statistics import Estimate, Resampled, contrast, contrast_bounds, difference

_LARGEST = 1e3


@dataclass(frozen=True)
class Recovery:
    """The recovered fraction, or why there is none.

    Parameters
    ----------
    metric
        The metric's id.
    cost
        What quantization cost: quantized minus reference, with its paired interval.
    gain
        Quantized minus restored.
    fraction
        Gain over cost, with the interval of the ratio; None if it is refused.
    refused
        Why, in words; empty if it is not.
    """

    metric: str
    cost: Estimate
    gain: Estimate
    fraction: Estimate | None
    refused: str = ""


def recovered_fraction(
    reference: Resampled, quantized: Resampled, restored: Resampled, *, level: float = 0.95
) -> Recovery:
    """Return the share of quantization's cost that the restored model does not have any more.

    The interval holds the fractions f for which (quantized − restored) − f·(quantized − reference) is not
    told from 0 (Fieller's method), with bounds that allow for the metric's bias.

    Parameters
    ----------
    reference, quantized, restored
        One metric of three models, resampled together.
    level
        Of the interval.

    Raises
    ------
    InputError
        Less is not better for this metric, or the three were not resampled together.
    """
    metric = reference.metric
    if metric.direction != "lower":
        raise InputError(
            f"less is not better for {metric.id!r}, so it costs nothing; choose 'ece', 'nll' or 'brier'"
        )
    cost = difference(reference, quantized, level)
    gain = difference(restored, quantized, level)
    low, high = cost.interval
    if low <= 0:
        what = "improved" if high < 0 else "is not shown to have worsened"
        return Recovery(
            metric.id,
            cost,
            gain,
            None,
            f"{metric.id} {what} by quantization ({cost.value:+.4f} [{low:+.4f}, {high:+.4f}]), so there is"
            " nothing to recover a fraction of",
        )

    def bounds(fraction: float) -> tuple[float, float]:
        return contrast_bounds([(1 - fraction, quantized), (-1.0, restored), (fraction, reference)], level)

    value = contrast([(1.0, quantized), (-1.0, restored)], level).value / cost.value
    interval = (
        -_edge(lambda f: -bounds(-f)[0], -value),
        _edge(lambda f: bounds(f)[1], value),
    )
    return Recovery(metric.id, cost, gain, Estimate(value, interval, level, cost.n))


def _edge(margin: Callable[[float], float], start: float) -> float:
    """Return the largest f from ``start`` up at which a falling margin is not below 0."""
    step, inside = 0.05, start
    while margin(inside + step) >= 0:
        inside, step = inside + step, step * 2
        if step > _LARGEST:
            return math.inf
    outside = inside + step
    while outside - inside > 1e-6 * max(1.0, abs(inside)):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if margin(middle) >= 0 else (inside, middle)
    return inside
