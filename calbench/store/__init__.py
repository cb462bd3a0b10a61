"""Predictions and quantized checkpoints on disk."""

from calbench.store._differences import nearest, other_parts
from calbench.store._maintenance import (
    Entry,
    Listed,
    collect,
    entries,
    find,
    keep_limit,
    listed,
    parse_size,
    size_limit,
    verify,
)
from calbench.store._plans import planned_totals
from calbench.store._records import Store, StoredPredictions, key_of
from calbench.store._shards import ShardFolder

__all__ = [
    "Entry",
    "Listed",
    "ShardFolder",
    "Store",
    "StoredPredictions",
    "collect",
    "entries",
    "find",
    "keep_limit",
    "key_of",
    "listed",
    "nearest",
    "other_parts",
    "parse_size",
    "planned_totals",
    "size_limit",
    "verify",
]
