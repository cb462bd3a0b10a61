"""Finished parts of a record that is still being made: what a killed run leaves, and the next one uses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calbench.cache import replacing
from calbench.errors import CorruptRecordError
from calbench.records import Float32
from calbench.store._writing import explaining


@dataclass(frozen=True)
class ShardFolder:
    """Parts of the record with one identity, one checked file each.

    Parameters
    ----------
    folder
        Named after the record's key, so that no other record's parts can be met in it.
    on_corrupt
        ``"refuse"`` a damaged part with an error that names it, or ``"recompute"`` it.
    """

    folder: Path
    on_corrupt: str = "refuse"

    def get(self, name: str, shape: tuple[int, int]) -> Float32 | None:
        """Return the logits of a finished part, or None.

        Raises
        ------
        CorruptRecordError
            It is there but differs from what was written.
        """
        values = self._read(f"{name}.f32", n_bytes=4 * shape[0] * shape[1])
        if values is None:
            return None
        return np.frombuffer(values, dtype="<f4").reshape(shape).astype(np.float32)

    def put(self, name: str, values: Float32) -> None:
        """Keep the logits of a finished part; it appears whole or not at all."""
        self._write(f"{name}.f32", np.ascontiguousarray(values, dtype="<f4").tobytes())

    def get_rows(self, name: str) -> list[Any] | None:
        """Return the rows of a finished part that holds no logits, or None; as :meth:`get`."""
        content = self._read(f"{name}.rows")
        return None if content is None else list(json.loads(content))

    def put_rows(self, name: str, rows: Sequence[Any]) -> None:
        """Keep the rows of a finished part, plain JSON; it appears whole or not at all."""
        self._write(f"{name}.rows", json.dumps(rows).encode())

    def clear(self) -> None:
        """Forget the parts: the record itself is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str, *, n_bytes: int | None = None) -> bytes | None:
        path = self.folder / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        checksum, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() == checksum and n_bytes in (None, len(data)):
            return data
        if self.on_corrupt == "recompute":
            return None
        raise CorruptRecordError(
            f"{path} does not match its checksum; delete it to have that part computed again"
        )

    def _write(self, name: str, data: bytes) -> None:
        # Another machine may finish the same record meanwhile, and then no part is needed any more.
        with explaining(self.folder), suppress(FileNotFoundError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / name) as temporary:
                temporary.write_bytes(hashlib.sha256(data).digest() + data)
