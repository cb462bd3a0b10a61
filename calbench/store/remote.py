"""Records that machines share through any file system that fsspec knows: s3, gcs, ssh, memory, a mount."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from calbench.cache import lock, publishing
from calbench.errors import BackendUnavailableError, StoreError

# The manifest goes last and is looked for first: a record without it is not there yet.
FILES = ("predictions.safetensors", "record.json")


@dataclass(frozen=True)
class RemoteRecords:
    """Records below an address, one folder a record, as in a local store.

    What is fetched is put into the local store first and checked there like any other record.

    Parameters
    ----------
    address
        Such as ``s3://bucket/calbench`` or ``memory://calbench``.
    """

    address: str

    @property
    def name(self) -> str:
        """A folder name for what this machine keeps of it."""
        return hashlib.sha256(self.address.encode()).hexdigest()[:16]

    def fetch(self, key: str, folder: Path) -> bool:
        """Copy a record into a local folder; False if there is none.

        Raises
        ------
        StoreError
            The address cannot be reached.
        """
        place = self._place(key)
        try:
            if not self._files.exists(f"{place}/{FILES[-1]}"):
                return False
            with lock(folder):
                if folder.is_dir():  # another process fetched it while this one waited
                    return True
                with publishing(folder) as temporary:
                    for name in FILES:
                        (temporary / name).write_bytes(self._files.cat_file(f"{place}/{name}"))
        except OSError as error:
            raise StoreError(f"the record {key} cannot be read from {self.address}: {error}") from error
        return True

    def publish(self, key: str, folder: Path) -> None:
        """Copy a local record there.

        Raises
        ------
        StoreError
            The address cannot be written; the local record stays.
        """
        place = self._place(key)
        try:
            self._files.makedirs(place, exist_ok=True)
            for name in FILES:
                self._files.pipe_file(f"{place}/{name}", (folder / name).read_bytes())
        except OSError as error:
            raise StoreError(
                f"the record {key} cannot be written to {self.address} ({error}); it is kept in {folder}"
            ) from error

    def _place(self, key: str) -> str:
        return f"{self._root}/records/{key[:2]}/{key}"

    @property
    def _root(self) -> str:
        return self._opened[1]

    @property
    def _files(self) -> Any:
        return self._opened[0]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise BackendUnavailableError(
                f"{self.address} needs fsspec; pip install 'calbench[shared]'"
            ) from error
        try:
            files, root = url_to_fs(self.address)
        except (ImportError, ValueError) as error:  # a protocol without its package, or unknown
            raise StoreError(f"cannot open the store {self.address}: {error}") from error
        return files, root.rstrip("/")
