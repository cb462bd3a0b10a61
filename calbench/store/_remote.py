"""Records that machines share through any file system that fsspec knows: s3, gcs, ssh, memory, a mount."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from calbench.cache import lock, publishing
from calbench.errors import BackendUnavailableError, StoreError

DATA, MANIFEST = "predictions.safetensors", "record.json"


@dataclass(frozen=True)
class RemoteRecords:
    """Records below an address, one folder a record.

    The manifest goes last and is looked for first: a record without it is not there yet. The data's
    name holds its hash, so that each manifest names its own data, whoever else writes this record.

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
            if not self._files.exists(f"{place}/{MANIFEST}"):
                return False
            with lock(folder):
                if folder.is_dir():  # another process fetched it while this one waited
                    return True
                with publishing(folder) as temporary:
                    manifest = self._files.cat_file(f"{place}/{MANIFEST}")
                    (temporary / MANIFEST).write_bytes(manifest)
                    (temporary / DATA).write_bytes(self._data(place, manifest))
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
            data = (folder / DATA).read_bytes()
            self._files.makedirs(place, exist_ok=True)
            self._files.pipe_file(f"{place}/{_name(hashlib.sha256(data).hexdigest())}", data)
            self._files.pipe_file(f"{place}/{MANIFEST}", (folder / MANIFEST).read_bytes())
        except OSError as error:
            raise StoreError(
                f"the record {key} cannot be written to {self.address} ({error}); it is kept in {folder}"
            ) from error

    def _data(self, place: str, manifest: bytes) -> bytes:
        try:
            name = _name(json.loads(manifest)["sha256"])
        except (ValueError, KeyError, TypeError):
            return b""  # a damaged manifest is refused, whatever data it is with
        try:
            content: bytes = self._files.cat_file(f"{place}/{name}")
        except FileNotFoundError:  # a record may also be there under the name of the local file
            content = self._files.cat_file(f"{place}/{DATA}")
        return content

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


def _name(sha256: str) -> str:
    return f"predictions-{sha256}.safetensors"
