"""Statistics: shared bootstrap resamples, intervals, paired tests, and the gate's decision."""

from __future__ import annotations

from calbench.statistics.alarms import exceedance_p_value, expected_false_alarms, survivors
from calbench.statistics.contrasts import contrast, contrast_p_value
from calbench.statistics.gate import Change, GateDecision, ceiling, change, compare, decide, decide_ceiling
from calbench.statistics.intervals import Estimate, Resampled, bootstrap, difference, resample
from calbench.statistics.ranking import Rank, differences_from_best, p_value, rank_intervals
from calbench.statistics.resamples import Resamples, resamples_for
from calbench.statistics.significance import McNemarResult, holm, mcnemar

__all__ = [
    "Change",
    "Estimate",
    "GateDecision",
    "McNemarResult",
    "Rank",
    "Resampled",
    "Resamples",
    "bootstrap",
    "ceiling",
    "change",
    "compare",
    "contrast",
    "contrast_p_value",
    "decide",
    "decide_ceiling",
    "difference",
    "differences_from_best",
    "exceedance_p_value",
    "expected_false_alarms",
    "holm",
    "mcnemar",
    "p_value",
    "rank_intervals",
    "resample",
    "resamples_for",
    "survivors",
]
