"""Statistics: shared bootstrap resamples, intervals, paired tests, and the gate's decision."""

from __future__ import annotations

from calbench.statistics._alarms import (
    contrast_exceedance,
    exceedance_p_value,
    expected_false_alarms,
    survivors,
)
from calbench.statistics._bootstrap import bootstrap
from calbench.statistics._contrasts import contrast, contrast_bounds, contrast_p_value
from calbench.statistics._design import Design
from calbench.statistics._gate import Change, Outcome, change, check_same_items, outcome_of, power
from calbench.statistics._interval_formulas import check_level, percentile_interval
from calbench.statistics._intervals import (
    Estimate,
    Method,
    Resampled,
    difference,
    own_bounds,
    relative_bounds,
    resample,
)
from calbench.statistics._promise import STARTS, THRESHOLDS, Promise, binomial_interval, promised, promises
from calbench.statistics._ranking import Rank, differences_from_best, p_value, rank_intervals
from calbench.statistics._resamples import Resamples, resamples_for
from calbench.statistics._sequence import Look, looks, sequential_p_value
from calbench.statistics._significance import McNemarResult, holm, mcnemar
from calbench.statistics._two_phase import (
    FEWEST_LABELS,
    LabelSample,
    allocation,
    labelled_accuracy,
    labelled_change,
)

__all__ = [
    "FEWEST_LABELS",
    "STARTS",
    "THRESHOLDS",
    "Change",
    "Design",
    "Estimate",
    "LabelSample",
    "Look",
    "McNemarResult",
    "Method",
    "Outcome",
    "Promise",
    "Rank",
    "Resampled",
    "Resamples",
    "allocation",
    "binomial_interval",
    "bootstrap",
    "change",
    "check_level",
    "check_same_items",
    "contrast",
    "contrast_bounds",
    "contrast_exceedance",
    "contrast_p_value",
    "difference",
    "differences_from_best",
    "exceedance_p_value",
    "expected_false_alarms",
    "holm",
    "labelled_accuracy",
    "labelled_change",
    "looks",
    "mcnemar",
    "outcome_of",
    "own_bounds",
    "p_value",
    "percentile_interval",
    "power",
    "promised",
    "promises",
    "rank_intervals",
    "relative_bounds",
    "resample",
    "resamples_for",
    "sequential_p_value",
    "survivors",
]
