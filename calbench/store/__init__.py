"""Predictions and quantized checkpoints on disk."""

from calbench.store.maintenance import Entry, Listed, collect, entries, listed, parse_size, verify
from calbench.store.records import Record, Store, key_of

__all__ = [
    "Entry",
    "Listed",
    "Record",
    "Store",
    "collect",
    "entries",
    "key_of",
    "listed",
    "parse_size",
    "verify",
]
