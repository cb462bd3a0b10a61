"""Ceilings on the error rate among the answers that a threshold keeps: exact, however few are kept."""

from __future__ import annotations

import scipy

from calbench.errors import InputError
from calbench.gates._fitted_split import Arm
from calbench.gates._requirement import Requirement
from calbench.metrics import Metric
from calbench.statistics import Change, binomial_interval

_OF_KEPT = ("selective_risk", "overconfidence_error_rate")


def is_of_kept(wanted: Requirement) -> bool:
    """Whether a requirement is a ceiling on the error rate among answers that are kept."""
    return wanted.kind == "limit" and wanted.metric.id.partition("[")[0] in _OF_KEPT


def kept_change(arm: Arm, metric: Metric, level: float) -> Change:
    """Return the error rate among the answers that are kept, with its exact interval and the coverage."""
    wrong, kept = _counts(arm, metric)
    n_items = len(arm.outcomes)
    value = wrong / kept if kept else float("nan")
    return Change(
        value,
        binomial_interval(wrong, kept, level),
        n_items,
        metric.id,
        level,
        candidate_value=value,
        sampling=f", {kept:,} kept (coverage {kept / n_items:.3f})",
    )


def kept_p_value(arm: Arm, metric: Metric, limit: float) -> float:
    """Return the smallest p at which the exact interval lies above the limit."""
    wrong, kept = _counts(arm, metric)
    return min(1.0, 2 * float(scipy.special.bdtrc(wrong - 1, kept, limit))) if wrong else 1.0


def _counts(arm: Arm, metric: Metric) -> tuple[int, int]:
    if not arm.resamples.design.plain:
        raise InputError(
            f"{metric.id} is judged by counts of independent answers; leave clusters, strata and weights out"
        )
    kept = arm.outcomes.confidences >= float(metric.fingerprint["threshold"])
    return int((kept & ~arm.outcomes.correct).sum()), int(kept.sum())
