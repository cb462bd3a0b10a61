"""Where calbench keeps what it fetched and computed, and how a file or folder appears in one step."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ENVIRONMENT_VARIABLE = "CALBENCH_CACHE"


def cache_dir() -> Path:
    """Return ``$CALBENCH_CACHE``, or the platform's cache folder for calbench."""
    from platformdirs import user_cache_path

    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("calbench")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    # hashlib.file_digest exists from Python 3.11 on only.
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def mark_used(folder: Path) -> None:
    """Note, in a folder's own time, that it was used now: where room is short, the longest unused goes."""
    with suppress(OSError):  # a store that can only be read keeps no such notes
        os.utime(folder)


@contextmanager
def lock(path: Path, *, timeout_seconds: float = -1) -> Iterator[None]:
    """Hold an exclusive lock between processes, named after ``path`` and kept beside it.

    Raises
    ------
    TimeoutError
        Another process held it for that long; -1 waits for as long as it takes.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock", timeout=timeout_seconds):
        yield


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``folder`` in one rename when the block succeeds.

    A reader sees all of it or nothing; what a killed process left is never mistaken for it. Where
    ``folder`` already exists it is replaced; of two that publish it at once the later one stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield temporary
        # mkdtemp makes it private; others may share the cache.
        temporary.chmod(0o755)
        while not _renamed(temporary, folder):
            discard(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _renamed(folder: Path, target: Path) -> bool:
    """Rename a folder; False where the target is there and not empty."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def discard(folder: Path) -> None:
    """Delete a folder, which is gone in one step: renamed first, so that nobody reads half of it.

    A killed process leaves a hidden folder. That another process deletes it as well is no error.
    """
    hidden = folder.with_name(f".{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        folder.rename(hidden)
        shutil.rmtree(hidden)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes it private; give it the mode that a new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
