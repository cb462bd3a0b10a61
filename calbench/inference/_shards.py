"""Where finished parts of a run are kept, so that one that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

from calbench.records import Float32


class Shards(Protocol):
    """Keeps finished shards of one run by their names."""

    def get(self, name: str, shape: tuple[int, int]) -> Float32 | None:
        """Return a finished shard's logits, or None."""
        ...

    def put(self, name: str, values: Float32) -> None:
        """Keep a finished shard's logits."""
        ...

    def get_rows(self, name: str) -> list[Any] | None:
        """Return the rows of a finished shard that holds no logits, or None."""
        ...

    def put_rows(self, name: str, rows: Sequence[Any]) -> None:
        """Keep the rows of a finished shard, plain JSON."""
        ...


class NoShards:
    """Keeps nothing."""

    def get(self, name: str, shape: tuple[int, int]) -> Float32 | None:
        """Find nothing."""

    def put(self, name: str, values: Float32) -> None:
        """Keep nothing."""

    def get_rows(self, name: str) -> list[Any] | None:
        """Find nothing."""

    def put_rows(self, name: str, rows: Sequence[Any]) -> None:
        """Keep nothing."""


def plan_hash(plan: Sequence[Sequence[str]]) -> str:
    """Name a shard after the ids in its batches, so that one of another plan is never taken for it."""
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:16]
