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


class _Stream(httpcore.NetworkStream):
    """A connection whose reads know when the exchange is over."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _ENDS.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole answer took too long")
        return self._inner.read(max_bytes, min(left, timeout if timeout is not None else left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*args, **options))


def transport(limits: httpx.Limits, *, trust_env: bool) -> httpx.HTTPTransport:
    """Return httpx's own transport over such connections; a proxy's are as httpx makes them."""
    made = httpx.HTTPTransport(limits=limits, trust_env=trust_env)
    # httpx has no argument for it, and httpcore's pool has; a test holds that it is honoured.
    made._pool._network_backend = _Backend()
    return made
