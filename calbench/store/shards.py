"""Finished parts of a record that is still being made: what a killed run leaves, and the next one uses."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calbench.arrays import Float32
from calbench.errors import CorruptRecordError
from calbench.record_files import replacing
from calbench.store.writing import explaining


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
        """Return a finished part, or None.

        Raises
        ------
        CorruptRecordError
            It is there but differs from what was written.
        """
        path = self.folder / f"{name}.f32"
        if not path.is_file():
            return None
        content = path.read_bytes()
        checksum, values = content[:32], content[32:]
        if hashlib.sha256(values).digest() == checksum and len(values) == 4 * shape[0] * shape[1]:
            return np.frombuffer(values, dtype="<f4").reshape(shape).astype(np.float32)
        if self.on_corrupt == "recompute":
            return None
        raise CorruptRecordError(
            f"{path} does not match its checksum; delete it to have that part computed again"
        )

    def put(self, name: str, values: Float32) -> None:
        """Keep a finished part; it appears whole or not at all."""
        data = np.ascontiguousarray(values, dtype="<f4").tobytes()
        with explaining(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / f"{name}.f32") as temporary:
                temporary.write_bytes(hashlib.sha256(data).digest() + data)

    def clear(self) -> None:
        """Forget the parts: the record itself is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
