"""Baselines: results that were accepted, kept with each item's answer, to compare with later.

A baseline is two files: ``<suite>/<cell>.json`` for people to review, and beside it a compact
``.npz`` with each test item's confidence and whether the answer was right, so that a later run is
compared with it item by item.
"""

from calbench.baselines._baseline import Baseline, changed_versions, check_comparable, snapshot
from calbench.baselines._files import (
    cell_id_of,
    from_payload,
    is_baseline,
    path_of,
    payload_of,
    read,
    stale,
    write,
)

__all__ = [
    "Baseline",
    "cell_id_of",
    "changed_versions",
    "check_comparable",
    "from_payload",
    "is_baseline",
    "path_of",
    "payload_of",
    "read",
    "snapshot",
    "stale",
    "write",
]
