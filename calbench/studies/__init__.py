"""Questions that take many records: precision, sensitivity, monitoring."""

from calbench.studies._monitoring import Monitoring, monitor
from calbench.studies._precision import RAW, MissingRow, PrecisionRow, place, precision_rows
from calbench.studies._sensitivity import Change, GroupCost, Sensitivity, Suggestion

__all__ = [
    "RAW",
    "Change",
    "GroupCost",
    "MissingRow",
    "Monitoring",
    "PrecisionRow",
    "Sensitivity",
    "Suggestion",
    "monitor",
    "place",
    "precision_rows",
]
