"""Looking after a store: what is in it, whether it is intact, and making room."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from calbench.cache import discard
from calbench.errors import CorruptRecordError, InputError
from calbench.registry import unknown
from calbench.store._records import Store, StoredPredictions, read_header, read_manifest, read_present
from calbench.store._writing import explaining

LIMIT_VARIABLE = "CALBENCH_STORE_MAX_SIZE"
# A hidden folder may be in use: what is fetched, and what is set aside, is written without a lock.
LEFTOVER_AGE = timedelta(days=1)
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Entry:
    """Something that takes room in a store.

    Parameters
    ----------
    kind
        ``"record"``, ``"checkpoint"``, ``"adapter"``, ``"merged"`` (a model with an adapter in its
        weights), ``"memos"`` (all of them), ``"shards"`` (of a run that was not finished) or
        ``"leftovers"`` (of a writer that was killed, or a record that was set aside).
    folder
        Where it is.
    size_bytes
        Of all its files.
    written
        When its newest file was written.
    used
        When it was last read or written.
    """

    kind: str
    folder: Path
    size_bytes: int
    written: datetime
    used: datetime


@dataclass(frozen=True)
class Listed:
    """A record as a listing shows it; ``problem`` says why it cannot be described."""

    entry: Entry
    key: str
    model: str = ""
    quantizer: str = ""
    task: str = ""
    n_items: int = 0
    part: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """``model::task::quantizer``, the ids that it was made under; then its part of the items, if any."""
        return f"{self.model}::{self.task}::{self.quantizer}{self.part}"


def entries(store: Store) -> list[Entry]:
    """All that takes room, oldest first."""
    found = [
        *_entries(store.root / "records", "*/*", "record"),
        *_entries(store.root / "checkpoints", "*", "checkpoint"),
        *_entries(store.root / "adapters", "*", "adapter"),
        *_entries(store.root / "merged", "*", "merged"),
        *_entries(store.root / "shards", "*", "shards"),
        *(memos for memos in _entries(store.root, "memos", "memos") if memos.size_bytes),
    ]
    return sorted(found, key=lambda entry: (entry.written, entry.folder))


def listed(store: Store) -> list[Listed]:
    """Describe every record, oldest first, by the names it was made under."""
    found = [_listed(entry) for entry in entries(store) if entry.kind == "record"]
    return [one for one in found if not one.problem or one.entry.folder.is_dir()]


def find(store: Store, name: str) -> StoredPredictions:
    """Return the record that is named as a listing names it.

    Parameters
    ----------
    store
        Where to look.
    name
        ``model::task::quantizer``, or the beginning of a key.

    Raises
    ------
    InputError
        No record is called so, or several are; the message says what there is.
    CorruptRecordError
        The record differs from what was written.
    """
    there = [one for one in listed(store) if not one.problem]
    matching = [one for one in there if one.name == name or one.key.startswith(name)]
    if len(matching) > 1:
        shown = "; ".join(
            f"{one.key[:12]} ({one.n_items:,} items, {one.entry.written:%Y-%m-%d %H:%M})" for one in matching
        )
        longest = max(matching, key=lambda one: (one.n_items, one.entry.written))
        raise InputError(
            f"{len(matching)} stored records are called {name}: {shown}; write a key in its place,"
            f" such as {longest.key[:12]}, which has the most items"
        )
    if not matching:
        known = {one.name for one in there}
        raise InputError(f"{unknown('stored record', name, known)}; 'calbench store ls' lists them")
    found = store.read(matching[0].key)
    if found is None:
        raise InputError(f"the record {name} was deleted meanwhile; run its model again")
    return found


def verify(store: Store) -> Iterator[tuple[Entry, str]]:
    """Read every record whole; yields each, with what is wrong with it or an empty text."""
    for entry in entries(store):
        if entry.kind != "record":
            continue
        try:
            found = read_present(entry.folder, entry.folder.name)
        except CorruptRecordError as error:
            yield entry, str(error)
        else:
            if found is not None:
                yield entry, ""


def collect(
    store: Store,
    *,
    max_bytes: int | None = None,
    used_since: datetime | None = None,
    timeout_seconds: float = -1,
) -> list[Entry]:
    """Delete leftovers, and then the least recently used until the rest fits; returns what was deleted.

    Leftovers of the last day stay: they may be what another process is writing. Nothing is deleted
    while another process runs models for this store. Unfinished shards go before all else that can be
    made again.

    Parameters
    ----------
    store
        What to make room in.
    max_bytes
        How much may stay; None deletes leftovers only.
    used_since
        What was used since then stays, whatever the limit.
    timeout_seconds
        How long to wait for another process; -1 for as long as it takes.

    Raises
    ------
    TimeoutError
        Another process ran models for that long.
    """
    if max_bytes is not None and max_bytes < 0:
        raise InputError(f"a store cannot be limited to {max_bytes} bytes; give 0 or more")
    with store.idle(timeout_seconds=timeout_seconds), explaining(store.root):
        everything = entries(store)
        old = datetime.now(timezone.utc) - LEFTOVER_AGE
        deleted = [entry for entry in everything if entry.kind == "leftovers" and entry.used < old]
        kept = [entry for entry in everything if entry.kind != "leftovers"]
        total = sum(entry.size_bytes for entry in kept)
        idle = [entry for entry in kept if used_since is None or entry.used < used_since]
        idle.sort(key=lambda entry: (entry.kind != "shards", entry.used))
        while max_bytes is not None and idle and total > max_bytes:
            oldest = idle.pop(0)
            total -= oldest.size_bytes
            deleted.append(oldest)
        for entry in deleted:
            _delete(entry, old)
    return deleted


def size_limit() -> int | None:
    """Return how many bytes ``$CALBENCH_STORE_MAX_SIZE`` lets a store keep after a run; None without it."""
    text = os.environ.get(LIMIT_VARIABLE)
    return parse_size(text) if text else None


def keep_limit(store: Store, *, used_since: datetime) -> str:
    """Hold a store to :func:`size_limit`, and say so in a line; ``""`` if there was nothing to do.

    What was used since the run began stays, and so does all where another process runs models.
    """
    max_bytes = size_limit()
    if max_bytes is None:
        return ""
    try:
        # A file system's clock lags a little behind.
        since = used_since - timedelta(seconds=1)
        deleted = collect(store, max_bytes=max_bytes, used_since=since, timeout_seconds=0)
    except TimeoutError:
        return f"the store {store.root} is in use by another process, and was not held to ${LIMIT_VARIABLE}"
    left = sum(entry.size_bytes for entry in entries(store) if entry.kind != "leftovers")
    freed = sum(entry.size_bytes for entry in deleted)
    parts = []
    if deleted:
        parts.append(f"{len(deleted):,} least recently used parts deleted, {freed / 1e6:,.1f} MB")
    if left > max_bytes:
        parts.append(f"{left / 1e6:,.1f} MB are kept beyond the limit: this run used them")
    if not parts:
        return ""
    limit = f"{max_bytes / 1e6:,.1f} MB (${LIMIT_VARIABLE})"
    return f"the store {store.root} is held to {limit}: {'; '.join(parts)}"


def parse_size(text: str) -> int:
    """Read a size such as ``500MB`` (powers of 1000).

    >>> parse_size("1.5 GB")
    1500000000
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", text.upper())
    if match is None:
        raise InputError(f"cannot read the size {text!r}; write a number and B, KB, MB, GB or TB")
    return int(float(match[1]) * _UNITS[match[2] or "B"])


def _delete(entry: Entry, old: datetime) -> None:
    if entry.kind != "memos":
        discard(entry.folder)
        return
    for file in entry.folder.iterdir():  # others write here without a lock
        with suppress(FileNotFoundError):
            if not file.name.startswith(".") or file.stat().st_mtime < old.timestamp():
                file.unlink()


def _entries(folder: Path, pattern: str, kind: str) -> Iterator[Entry]:
    for place in folder.glob(pattern):
        if not place.is_dir():
            continue
        try:
            facts = [file.stat() for file in place.rglob("*") if file.is_file()]
            own = place.stat()
        except FileNotFoundError:
            continue  # another process is busy with it
        written = max((fact.st_mtime for fact in facts), default=own.st_mtime)
        yield Entry(
            "leftovers" if place.name.startswith(".") else kind,
            place,
            sum(fact.st_size for fact in facts),
            datetime.fromtimestamp(written, timezone.utc),
            datetime.fromtimestamp(max(written, own.st_mtime), timezone.utc),
        )


def _listed(entry: Entry) -> Listed:
    key = entry.folder.name
    try:
        read_manifest(entry.folder, key)
        n_items, made = read_header(entry.folder)
    except CorruptRecordError as error:
        return Listed(entry, key, problem=str(error))
    names = {name: str(made.get(name, "")) for name in ("model", "quantizer", "task")}
    part = "-".join(map(str, made.get("part") or ()))
    return Listed(entry, key, **names, n_items=n_items, part=part and f"::{part}")
