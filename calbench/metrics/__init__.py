"""Metrics: pure functions of ``(probs, labels)``, and the registry that gives them ids.

>>> round(get("ece")([[0.9, 0.1], [0.2, 0.8]], [0, 1]), 12)
0.15
"""

from __future__ import annotations

from calbench.metrics._absolute_sums import AbsoluteSums
from calbench.metrics._calibration_error import (
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    shared_bins_calibration_error,
)
from calbench.metrics._classwise import classwise_calibration_error, top_label_calibration_error
from calbench.metrics._confidence import (
    calibration_intercept,
    calibration_slope,
    overconfidence_error_rate,
    overconfidence_gap,
    overconfidence_rate,
)
from calbench.metrics._decomposition import (
    BrierDecomposition,
    brier_calibration,
    brier_decomposition,
    brier_refinement,
)
from calbench.metrics._drift import (
    PrecisionSplit,
    confidence_shift,
    flip_rate,
    js_divergence,
    kl_divergence,
    precision_split,
    split_rate,
)
from calbench.metrics._function import MetricFunction
from calbench.metrics._kernel_error import PairStatistic, squared_kernel_calibration_error
from calbench.metrics._outcomes import Outcomes, check_sample_weight
from calbench.metrics._proper_scores import (
    accuracy,
    brier_score,
    negative_log_likelihood,
    top_label_brier_score,
)
from calbench.metrics._registration import Metric, evaluate, formula, get, metric, names, registry
from calbench.metrics._reliability import ReliabilityBins
from calbench.metrics._rounding import (
    ShiftByNorm,
    centred_norm,
    peak_distortion,
    probability_shift_bound,
    shift_by_norm,
    shift_by_rounding,
    underflow_fraction,
    underflow_margin,
)
from calbench.metrics._selective import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    confidence_auroc,
    coverage_at_risk,
    selective_risk,
)
from calbench.metrics._smooth import smooth_calibration_error
from calbench.metrics._soft_labels import cross_entropy, expected_brier_score, soft_calibration_error
from calbench.metrics._weighted import (
    Statistic,
    SumStatistic,
    Term,
    TermLike,
    evaluate_together,
    mean_of,
    unweighted,
)

__all__ = [
    "AbsoluteSums",
    "BrierDecomposition",
    "Metric",
    "MetricFunction",
    "Outcomes",
    "PairStatistic",
    "PrecisionSplit",
    "ReliabilityBins",
    "ShiftByNorm",
    "Statistic",
    "SumStatistic",
    "Term",
    "TermLike",
    "accuracy",
    "area_under_generalized_risk_coverage",
    "area_under_risk_coverage",
    "brier_calibration",
    "brier_decomposition",
    "brier_refinement",
    "brier_score",
    "calibration_intercept",
    "calibration_slope",
    "centred_norm",
    "check_sample_weight",
    "classwise_calibration_error",
    "confidence_auroc",
    "confidence_shift",
    "coverage_at_risk",
    "cross_entropy",
    "debiased_calibration_error",
    "evaluate",
    "evaluate_together",
    "expected_brier_score",
    "expected_calibration_error",
    "flip_rate",
    "formula",
    "get",
    "js_divergence",
    "kl_divergence",
    "ks_calibration_error",
    "mean_of",
    "metric",
    "names",
    "negative_log_likelihood",
    "overconfidence_error_rate",
    "overconfidence_gap",
    "overconfidence_rate",
    "peak_distortion",
    "precision_split",
    "probability_shift_bound",
    "registry",
    "selective_risk",
    "shared_bins_calibration_error",
    "shift_by_norm",
    "shift_by_rounding",
    "smooth_calibration_error",
    "soft_calibration_error",
    "split_rate",
    "squared_kernel_calibration_error",
    "top_label_brier_score",
    "top_label_calibration_error",
    "underflow_fraction",
    "underflow_margin",
    "unweighted",
]
