"""Where calbench keeps what it fetched and computed, and how a folder appears there in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes, named after ``path`` and kept beside it."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock"):
        yield


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``folder`` in one rename when the block succeeds.

    A reader sees all of it or nothing; what a killed process left is never mistaken for it. Where
    ``folder`` already exists it is replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield temporary
        # mkdtemp makes it private; others may share the cache.
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
