"""What tells arms apart: effects and their interaction with paired intervals, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calbench.errors import InputError
from calbench.gates import Comparison, Contrast
from calbench.statistics import Estimate, Resampled, contrast, contrast_p_value, holm

METRICS = ("ece", "brier", "nll", "overconfidence_rate", "overconfidence_error_rate", "accuracy")


@dataclass(frozen=True)
class Effect:
    """One contrast of one metric.

    Parameters
    ----------
    contrast
        What is asked.
    metric
        The metric's id.
    estimate
        The contrast with its paired interval; None where the metric is not defined for an arm.
    p_value
        Holm-adjusted over all effects that were asked together; None with the estimate.
    """

    contrast: Contrast
    metric: str
    estimate: Estimate | None
    p_value: float | None

    def shown(self, alpha: float = 0.05) -> bool:
        """Whether the effect is told from none, all effects asked together taken into account."""
        return self.p_value is not None and self.p_value <= alpha


def effects(
    comparison: Comparison,
    contrasts: Sequence[Contrast],
    metrics: Sequence[str] = METRICS,
) -> tuple[Effect, ...]:
    """Estimate contrasts of metrics over arms that were resampled together.

    Parameters
    ----------
    comparison
        Of the arms.
    contrasts, metrics
        What is asked; the correction is for all of it. The level of each interval is the comparison's, and
        is not corrected.

    Raises
    ------
    InputError
        A contrast names an arm that was not measured.
    """
    found: list[tuple[Contrast, str, Estimate | None]] = []
    p_values: dict[str, float] = {}
    for asked in contrasts:
        missing = sorted(set(asked.weights) - set(comparison.arms.names))
        if missing:
            raise InputError(
                f"the contrast {asked.id!r} needs the arm {missing[0]!r}, which was not measured"
            )
        for metric in metrics:
            terms = [(w, comparison.arm(arm).resampled(metric)) for arm, w in asked.weights.items()]
            if not _defined([result for _, result in terms]):
                found.append((asked, metric, None))
                continue
            p_values[f"{asked.id}/{metric}"] = contrast_p_value(terms)
            found.append((asked, metric, contrast(terms, comparison.level)))
    adjusted = holm(p_values)
    return tuple(
        Effect(asked, metric, estimate, adjusted.get(f"{asked.id}/{metric}"))
        for asked, metric, estimate in found
    )


def _defined(results: Sequence[Resampled]) -> bool:
    """Whether a metric has a value for each arm and on nearly all resamples, so that it has an interval."""
    for result in results:
        if math.isnan(result.value):
            return False
        try:
            result.estimate()
        except InputError:
            return False
    return True
