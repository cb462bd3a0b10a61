"""Predictions and quantized checkpoints on disk."""

from calbench.store.records import Record, Store, key_of

__all__ = ["Record", "Store", "key_of"]
