"""Questions that take many records: precision, sensitivity, monitoring."""

from calbench.studies._compression import (
    LIMITS,
    Compressed,
    at_chance,
    compressions,
    judged,
    recommended,
)
from calbench.studies._label_plan import REST_SHARE, LabelPlan, judged_plan, plan_labels
from calbench.studies._monitoring import Monitoring, monitor
from calbench.studies._precision import RAW, MissingRow, PrecisionRow, place, precision_rows
from calbench.studies._routing import THRESHOLDS, Route, routes
from calbench.studies._sensitivity import Change, GroupCost, Sensitivity, Suggestion

__all__ = [
    "LIMITS",
    "RAW",
    "REST_SHARE",
    "THRESHOLDS",
    "Change",
    "Compressed",
    "GroupCost",
    "LabelPlan",
    "MissingRow",
    "Monitoring",
    "PrecisionRow",
    "Route",
    "Sensitivity",
    "Suggestion",
    "at_chance",
    "compressions",
    "judged",
    "judged_plan",
    "monitor",
    "place",
    "plan_labels",
    "precision_rows",
    "recommended",
    "routes",
]
