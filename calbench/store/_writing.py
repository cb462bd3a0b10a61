"""Writing to a store: what the file system refuses is said in words, with the remedy."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calbench.errors import StoreError

_REMEDIES = {
    errno.ENOSPC: "the disk is full: 'calbench store gc --max-size 10GB' makes room, or name another folder",
    errno.EDQUOT: "the quota is used up: 'calbench store gc --max-size 10GB' makes room",
    errno.EROFS: "the file system is read-only: stored records can be replayed, new ones need another folder",
    errno.EACCES: "permission is denied: stored records can be replayed, new ones need another folder",
    errno.EPERM: "permission is denied: stored records can be replayed, new ones need another folder",
}


@contextmanager
def explaining(store: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the store and the remedy.

    Raises
    ------
    StoreError
        Instead of an :class:`OSError` that is about space or permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise StoreError(f"the store {store} cannot be written; {_REMEDIES[error.errno]}") from error


def sort_header(path: Path) -> None:
    """Rewrite a safetensors file with its header in one order.

    The format leaves the order open and its writer takes a random one, so that the same record
    would be other bytes each time.
    """
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[start:])
