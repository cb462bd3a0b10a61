"""Predictions and quantized checkpoints on disk."""

from calbench.store.maintenance import (
    Entry,
    Listed,
    collect,
    entries,
    keep_limit,
    listed,
    parse_size,
    size_limit,
    verify,
)
from calbench.store.records import Record, Store, key_of

__all__ = [
    "Entry",
    "Listed",
    "Record",
    "Store",
    "collect",
    "entries",
    "keep_limit",
    "key_of",
    "listed",
    "parse_size",
    "size_limit",
    "verify",
]
