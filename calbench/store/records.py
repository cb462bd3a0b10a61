"""A content-addressed store of predictions: looked up by all that could change them, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calbench.cache import lock, publishing
from calbench.errors import CorruptRecordError
from calbench.predictions import Predictions
from calbench.record_files import replacing

SCHEMA = 1
_DATA, _MANIFEST = "predictions.safetensors", "record.json"


@dataclass(frozen=True)
class Record:
    """Stored predictions, the key they are stored under, and how they were made.

    Parameters
    ----------
    key
        SHA-256 of the identity, 64 hexadecimal digits.
    predictions
        The predictions.
    identity
        All that could change the predictions.
    provenance
        What could not: timings, machine, the quantization report.
    """

    key: str
    predictions: Predictions
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]


def key_of(identity: Mapping[str, Any]) -> str:
    """SHA-256 of the identity's canonical JSON.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    """
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Store:
    """Records below a folder, one folder a record.

    A record appears in one step, after all its bytes are written: a killed process leaves none
    that could be read. What is read is checked against its checksum and its key.
    """

    root: Path
    _loaded: dict[str, Record] = field(default_factory=dict, repr=False, compare=False)

    def get(self, identity: Mapping[str, Any]) -> Record | None:
        """Return the record of exactly this identity, or None.

        Raises
        ------
        CorruptRecordError
            It is there but differs from what was written.
        """
        key = key_of(identity)
        if key not in self._loaded:
            folder = self.folder(key)
            if not folder.is_dir():
                return None
            self._loaded[key] = _read(folder, key)
        return self._loaded[key]

    def put(
        self, identity: Mapping[str, Any], predictions: Predictions, provenance: Mapping[str, Any]
    ) -> Record:
        """Write a record and return it."""
        key = key_of(identity)
        with publishing(self.folder(key)) as folder:
            predictions.write(folder / _DATA)
            manifest = {
                "schema": SCHEMA,
                "key": key,
                "identity": identity,
                "sha256": _sha256(folder / _DATA),
                "provenance": provenance,
            }
            # The manifest's checksum is over its own contents, so that a flipped byte in either
            # file is noticed.
            manifest["checksum"] = key_of(manifest)
            (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        record = Record(key, predictions, identity, provenance)
        self._loaded[key] = record
        return record

    def folder(self, key: str) -> Path:
        """Where the record with this key is, or would be."""
        return self.root / "records" / key[:2] / key

    def describe(self, key: str) -> dict[str, Any]:
        """Return the identity and provenance of a stored record, without its predictions."""
        manifest = json.loads((self.folder(key) / _MANIFEST).read_text())
        return {"identity": manifest["identity"], "provenance": manifest["provenance"]}

    def remember(self, identity: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Return plain JSON that depends on nothing but an identity, made once and then read back.

        Raises
        ------
        CorruptRecordError
            What was kept differs from what was written.
        """
        path = self.root / "memos" / f"{key_of(identity)}.json"
        if not path.is_file():
            value = make()
            with replacing(path) as temporary:
                temporary.write_text(json.dumps({"value": value, "checksum": key_of({"value": value})}))
            return value
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            value, intact = kept["value"], kept["checksum"] == key_of({"value": kept["value"]})
        except (ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise CorruptRecordError(f"{path} does not match its checksum; delete it to have it made again")
        return value

    @property
    def checkpoints(self) -> Path:
        """Where quantized weights are kept."""
        return self.root / "checkpoints"

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Hold the right to run models for this store: one process at a time.

        Inference uses every core, so two at once would only slow each other down; and the
        numbers do not depend on how many processes share the machine.
        """
        with lock(self.root / "computing"):
            yield


def _read(folder: Path, key: str) -> Record:
    remedy = f"delete {folder} to have it computed again"
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        schema, checksum = manifest["schema"], manifest.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptRecordError(f"{folder / _MANIFEST} cannot be read ({error!r}); {remedy}") from error
    if schema != SCHEMA:
        raise CorruptRecordError(
            f"{folder} was written in format {schema!r}, and this calbench reads {SCHEMA}; {remedy}"
        )
    if key_of(manifest) != checksum:
        raise CorruptRecordError(f"{folder / _MANIFEST} does not match its checksum; {remedy}")
    identity = manifest["identity"]
    if key_of(identity) != key:
        raise CorruptRecordError(f"{folder / _MANIFEST} describes another record than {key}; {remedy}")
    data = folder / _DATA
    if not data.is_file() or _sha256(data) != manifest["sha256"]:
        raise CorruptRecordError(f"{data} does not match its checksum; {remedy}")
    return Record(key, Predictions.read(data), identity, manifest["provenance"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
