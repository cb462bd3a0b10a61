"""Quantized checkpoints on disk: written in one step, checked byte for byte before they are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calbench.cache import mark_used, publishing, sha256_of
from calbench.errors import CorruptRecordError

_MANIFEST = "calbench-manifest.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint's folder must hold.

    Parameters
    ----------
    schema
        Version of this layout.
    facts
        The identity of the quantized model.
    files
        SHA-256 of each file, by name.
    tensors_hash
        SHA-256 over the tensors of the model in memory.
    seconds
        What making it took; identifies nothing.
    size_bytes
        Of the files together.
    """

    schema: int
    facts: dict[str, Any]
    files: dict[str, str]
    tensors_hash: str
    seconds: float
    size_bytes: int


def folder_of(parent: Path, quantizer_id: str, facts: Mapping[str, Any]) -> Path:
    """Folder for one identity: a readable name and the first 16 digits of the identity's hash."""
    readable = re.sub(r"[^A-Za-z0-9.=+-]+", "_", quantizer_id).strip("_")[:60]
    return parent / f"{readable}-{_hash_json(facts)[:16]}"


def write(
    folder: Path,
    save: Callable[[Path], None],
    *,
    facts: Mapping[str, Any],
    tensors_hash: str,
    seconds: float,
) -> Manifest:
    """Let ``save`` fill a temporary folder, add the manifest, and put it in place in one step."""
    with publishing(folder) as place:
        save(place)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        manifest = Manifest(
            schema=_SCHEMA,
            facts=dict(facts),
            files={path.relative_to(place).as_posix(): sha256_of(path) for path in files},
            tensors_hash=tensors_hash,
            seconds=seconds,
            size_bytes=sum(path.stat().st_size for path in files),
        )
        (place / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    return manifest


def verify(folder: Path, *, facts: Mapping[str, Any]) -> Manifest:
    """Return the manifest of a folder whose files all match it.

    Raises
    ------
    CorruptRecordError
        The manifest is missing or unreadable, is of another identity, or a file differs.
    """
    try:
        manifest = Manifest(**json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _corrupt(folder, f"its manifest cannot be read ({type(error).__name__}: {error})") from error
    if manifest.schema != _SCHEMA:
        raise _corrupt(folder, f"it has schema {manifest.schema}, this version reads {_SCHEMA}")
    differing = [key for key in {*facts, *manifest.facts} if facts.get(key) != manifest.facts.get(key)]
    if differing:
        raise _corrupt(folder, f"it was made for another {' and '.join(sorted(differing))}")
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {_MANIFEST}
    for name in sorted(present | set(manifest.files)):
        if name not in present:
            raise _corrupt(folder, f"{name} is missing")
        if name not in manifest.files:
            raise _corrupt(folder, f"{name} is not in the manifest")
        if sha256_of(folder / name) != manifest.files[name]:
            raise _corrupt(folder, f"{name} does not match its checksum")
    mark_used(folder)
    return manifest


def check_tensors(folder: Path, manifest: Manifest, tensors_hash: str) -> None:
    """Raise :class:`CorruptRecordError` unless the reloaded model is the one that was saved."""
    if tensors_hash != manifest.tensors_hash:
        raise _corrupt(folder, "the model read from it is not bit-identical to the one that was saved")


def _corrupt(folder: Path, what: str) -> CorruptRecordError:
    return CorruptRecordError(
        f"the checkpoint {folder} cannot be used: {what}; delete the folder to remake it"
    )


def _hash_json(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
