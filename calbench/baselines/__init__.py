"""Baselines: results that were accepted, kept with each item's answer, to compare with later.

A suite's baselines are two files: ``<suite>.json`` for people to review, a line a cell, and beside it a
compact ``<suite>.npz`` with each test item's confidence and whether the answer was right, so that a later
run is compared with it item by item.
"""

from calbench.baselines._baseline import Baseline, changes, check_comparable, snapshot
from calbench.baselines._files import (
    cell_name_of,
    from_payload,
    is_baseline,
    path_of,
    payload_of,
    read,
    split_path,
    stale,
    write,
)

__all__ = [
    "Baseline",
    "cell_name_of",
    "changes",
    "check_comparable",
    "from_payload",
    "is_baseline",
    "path_of",
    "payload_of",
    "read",
    "snapshot",
    "split_path",
    "stale",
    "write",
]
