"""A limit on a whole answer: a read time-out alone starts anew with each byte that a slow server sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx


class _Ends(threading.local):
    """When the exchange of this thread is over."""

    at = float("inf")


_ENDS = _Ends()


@contextmanager
def ending_within(seconds: float) -> Iterator[None]:
    """Let every read of this thread end after so many seconds, all together."""
    _ENDS.at = time.monotonic() + seconds
    try:
        yield
    finally:
        _ENDS.at = float("inf")


def _left(timeout: float | None) -> float | None:
    """Return the shorter of a time-out and what is left of the exchange."""
    left = _ENDS.at - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the whole exchange took too long")
    return timeout if left == float("inf") else min(left, left if timeout is None else timeout)


class _Stream(httpcore.NetworkStream):
    """A connection which knows when the exchange is over."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*args, **options))


def limited(client: httpx.Client) -> httpx.Client:
    """Return a client whose connections, a proxy's too, know when an exchange is over."""
    # httpx has no argument for it, and httpcore's pools have; tests hold that it is honoured.
    for made in (client._transport, *client._mounts.values()):
        if isinstance(made, httpx.HTTPTransport):
            made._pool._network_backend = _Backend()
    return client
