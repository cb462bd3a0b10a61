"""A content-addressed store of predictions: looked up by all that could change them, or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from calbench.cache import cache_dir, lock, mark_used, publishing, replacing, sha256_of
from calbench.errors import CorruptRecordError, InputError
from calbench.records import Predictions, TopLabelPredictions
from calbench.records import read_record as read_file
from calbench.store._remote import DATA, MANIFEST, RemoteRecords
from calbench.store._shards import ShardFolder
from calbench.store._writing import explaining, sort_header

SCHEMA = 1
OnCorrupt = Literal["refuse", "recompute"]
_IDLE = "idle"  # the lock of whoever keeps models from being run
_UNSHARED = "unshared"  # an empty file in a record's folder until its copy is in the shared store


@dataclass(frozen=True)
class StoredPredictions:
    """Stored predictions, the key they are stored under, and how they were made.

    Parameters
    ----------
    key
        SHA-256 of the identity, 64 hexadecimal digits.
    predictions
        The predictions: class vectors, or of open questions the top answers.
    identity
        All that could change the predictions.
    provenance
        What could not: timings, machine, the quantization report.
    """

    key: str
    predictions: Predictions | TopLabelPredictions
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def described_by(self) -> str:
        """A digest of what is known of the items that no answer depends on; ``""`` if nothing is."""
        shares = getattr(self.predictions, "label_distribution", None)
        clusters = self.predictions.cluster_ids
        known = [array.tolist() for array in (clusters, shares) if array is not None]
        return key_of({"known": known}) if known else ""

    @property
    def class_vectors(self) -> Predictions:
        """The predictions, if they hold every class; raises :class:`InputError` for top answers alone."""
        if isinstance(self.predictions, TopLabelPredictions):
            raise InputError(
                f"the record {self.key} holds the top answer's confidence only, and the logits of every class"
                " are needed; choose a task of classification or multiple choice"
            )
        return self.predictions


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

    Parameters
    ----------
    root
        A local folder.
    remote
        Records that several machines share: what is missing here is looked for there, and what is
        made here is copied there.
    on_corrupt
        What to do with a record or shard that differs from what was written: ``"refuse"`` it with
        an error that names it, or ``"recompute"``: set it aside and go on as if it were not there.
    """

    root: Path
    remote: RemoteRecords | None = None
    on_corrupt: OnCorrupt = "refuse"
    _loaded: dict[str, StoredPredictions] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def at(cls, place: str | Path | None = None, *, on_corrupt: OnCorrupt = "refuse") -> Store:
        """Return the store in a folder, at an fsspec address (``s3://...``), or the cache's own.

        An address is a store that machines share; locks, shards and quantized checkpoints of this
        machine stay in its cache.

        Raises
        ------
        InputError
            The place is a file.
        """
        if place is None or "://" not in str(place):
            folder = Path(place).expanduser() if place else cache_dir() / "store"
            if folder.is_file():
                raise InputError(f"{folder} is a file, and a store is a folder of records; name the folder")
            return cls(folder, on_corrupt=on_corrupt)
        remote = RemoteRecords(str(place))
        return cls(cache_dir() / "stores" / remote.name, remote, on_corrupt)

    def get(self, identity: Mapping[str, Any]) -> StoredPredictions | None:
        """Return the record of exactly this identity, or None.

        Raises
        ------
        CorruptRecordError
            It is there but differs from what was written.
        StoreError
            The shared store cannot be reached, and it has to be asked or still lacks this record.
        """
        key = key_of(identity)
        if key not in self._loaded:
            found = self.read(key)
            if found is None:
                return None
            self._loaded[key] = found
        return self._loaded[key]

    def read(self, key: str) -> StoredPredictions | None:
        """Return the record with this key, or None; see :meth:`get`."""
        folder = self.folder(key)
        if not folder.is_dir() and not (self.remote and self.remote.fetch(key, folder)):
            return None
        mark_used(folder)
        try:
            found = read_present(folder, key)
        except CorruptRecordError:
            if self.on_corrupt == "refuse":
                raise
            with explaining(self.root), suppress(FileNotFoundError):
                folder.rename(folder.with_name(f".corrupt-{folder.name}-{time.time_ns()}"))
            return None
        if (folder / _UNSHARED).exists():
            self._share(key)
        return found

    def put(
        self,
        identity: Mapping[str, Any],
        predictions: Predictions | TopLabelPredictions,
        provenance: Mapping[str, Any],
    ) -> StoredPredictions:
        """Write a record and return it.

        Raises
        ------
        StoreError
            The store cannot be written, or the shared one cannot: the next :meth:`get` tries that again.
        """
        key = key_of(identity)
        with explaining(self.root), publishing(self.folder(key)) as folder:
            predictions.write(folder / DATA)
            sort_header(folder / DATA)
            manifest = {
                "schema": SCHEMA,
                "key": key,
                "identity": identity,
                "sha256": sha256_of(folder / DATA),
                "provenance": provenance,
            }
            # The manifest's checksum is over its own contents, so that a flipped byte in either
            # file is noticed.
            manifest["checksum"] = key_of(manifest)
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
            if self.remote:
                (folder / _UNSHARED).touch()
        self.shards(identity).clear()
        self._share(key)
        record = StoredPredictions(key, predictions, identity, provenance)
        self._loaded[key] = record
        return record

    def _share(self, key: str) -> None:
        if self.remote:
            self.remote.publish(key, self.folder(key))
            (self.folder(key) / _UNSHARED).unlink(missing_ok=True)

    def shards(self, identity: Mapping[str, Any]) -> ShardFolder:
        """Return where finished parts of a record are kept until the whole is."""
        return ShardFolder(self.root / "shards" / key_of(identity), self.on_corrupt)

    def folder(self, key: str) -> Path:
        """Where the record with this key is, or would be."""
        return self.root / "records" / key[:2] / key

    def describe(self, key: str) -> dict[str, Any]:
        """Return the identity and provenance of a stored record, without its predictions."""
        manifest = read_manifest(self.folder(key), key)
        return {"identity": manifest["identity"], "provenance": manifest["provenance"]}

    def remember(self, identity: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Return plain JSON that depends on nothing but an identity, made once and then read back.

        Raises
        ------
        CorruptRecordError
            What was kept differs from what was written.
        """
        path = self.root / "memos" / f"{key_of(identity)}.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            value = make()
            with explaining(self.root), replacing(path) as temporary:
                temporary.write_text(json.dumps({"value": value, "checksum": key_of({"value": value})}))
            return value
        mark_used(path.parent)
        try:
            kept = json.loads(content)
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
    def computing(self, *, timeout_seconds: float = -1) -> Iterator[None]:
        """Hold the right to run models for this store: one process of a machine at a time.

        Inference uses every core, so two at once would only slow each other down; and the
        numbers do not depend on how many processes share the machine. Machines that share the folder
        do not wait for each other.

        Raises
        ------
        TimeoutError
            Another process held it for that long; -1 waits for as long as it takes.
        """
        with ExitStack() as held:
            with explaining(self.root):
                self._enter(held, timeout_seconds)
            yield

    def _enter(self, held: ExitStack, timeout_seconds: float) -> None:
        while True:
            own = self.root / f"computing-{platform.node()}"
            held.enter_context(lock(own, timeout_seconds=timeout_seconds))
            try:
                with lock(self.root / _IDLE, timeout_seconds=0):
                    return
            except TimeoutError:  # room is being made
                held.close()
            with lock(self.root / _IDLE, timeout_seconds=timeout_seconds):
                pass

    @contextmanager
    def idle(self, *, timeout_seconds: float = -1) -> Iterator[None]:
        """Keep models from being run for this store, by any machine.

        Raises
        ------
        TimeoutError
            A process ran models for that long; -1 waits for as long as it takes.
        """
        with ExitStack() as held:
            with explaining(self.root):
                held.enter_context(lock(self.root / _IDLE, timeout_seconds=timeout_seconds))
                for file in sorted(self.root.glob(".computing-*.lock")):
                    # Whoever comes later waits; those that are at work are waited for one by one.
                    with lock(self.root / file.name[1 : -len(".lock")], timeout_seconds=timeout_seconds):
                        pass
            yield


def read_manifest(folder: Path, key: str) -> dict[str, Any]:
    """Return what is written beside a record's data, checked against its checksum and its key.

    Raises
    ------
    CorruptRecordError
        The folder and the remedy are named.
    """
    remedy = f"delete {folder} to have it computed again"
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        schema, checksum = manifest["schema"], manifest.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptRecordError(f"{folder / MANIFEST} cannot be read ({error!r}); {remedy}") from error
    if schema != SCHEMA:
        raise CorruptRecordError(
            f"{folder} was written in format {schema!r}, and this calbench reads {SCHEMA}; {remedy}"
        )
    if key_of(manifest) != checksum:
        raise CorruptRecordError(f"{folder / MANIFEST} does not match its checksum; {remedy}")
    if key_of(manifest["identity"]) != key:
        raise CorruptRecordError(f"{folder / MANIFEST} describes another record than {key}; {remedy}")
    return manifest


def read_record(folder: Path, key: str) -> StoredPredictions:
    """Read a record; raises :class:`CorruptRecordError` if any byte differs from what was written."""
    manifest = read_manifest(folder, key)
    data = folder / DATA
    if not data.is_file() or sha256_of(data) != manifest["sha256"]:
        raise CorruptRecordError(
            f"{data} does not match its checksum; delete {folder} to have it computed again"
        )
    return StoredPredictions(key, read_file(data), manifest["identity"], manifest["provenance"])


def read_present(folder: Path, key: str) -> StoredPredictions | None:
    """Read a record, or return None if there is none.

    What another process replaces meanwhile is read again, and what it deletes is not there.

    Raises
    ------
    CorruptRecordError
        As :func:`read_record`.
    """
    while True:
        before = _version(folder)
        if before is None:
            return None
        try:
            found = read_record(folder, key)
        except (CorruptRecordError, InputError, OSError):
            if _version(folder) == before:
                raise
        else:
            if _version(folder) == before:
                return found


def _version(folder: Path) -> tuple[int, int] | None:
    """Tell a record from one that replaced it; None if there is none."""
    for place in (folder / MANIFEST, folder):  # of a damaged record the manifest may be missing
        with suppress(FileNotFoundError):
            facts = place.stat()
            return facts.st_ino, facts.st_mtime_ns
    return None


def read_header(folder: Path) -> tuple[int, dict[str, Any]]:
    """Return how many items a record has and its predictions' metadata, without reading the logits."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / DATA, framework="numpy") as file:
            header = file.metadata()
        return len(json.loads(header["item_ids"])), json.loads(header["calbench"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CorruptRecordError(
            f"{folder / DATA} cannot be read ({error}); delete {folder} to have it computed again"
        ) from error
