"""Questions that take many records: precision, sensitivity, monitoring."""

from calbench.studies._compression import (
    LIMITS,
    Compressed,
    at_chance,
    compressions,
    judged,
    recommended,
)
from calbench.studies._monitoring import Monitoring, monitor
from calbench.studies._precision import RAW, MissingRow, PrecisionRow, place, precision_rows
from calbench.studies._routing import THRESHOLDS, Route, routes
from calbench.studies._sensitivity import Change, GroupCost, Sensitivity, Suggestion

__all__ = [
    "LIMITS",
    "RAW",
    "THRESHOLDS",
    "Change",
    "Compressed",
    "GroupCost",
    "MissingRow",
    "Monitoring",
    "PrecisionRow",
    "Route",
    "Sensitivity",
    "Suggestion",
    "at_chance",
    "compressions",
    "judged",
    "monitor",
    "place",
    "precision_rows",
    "recommended",
    "routes",
]
