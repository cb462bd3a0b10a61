"""Requests to one server: retried, limited in time and size, never redirected, no secrets in errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from calbench.errors import BackendUnavailableError, CalbenchError, ServerError
from calbench.models import Address
from calbench.runtimes._access import addresses_of, hidden, is_near, key_for

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 64 * 2**20
_RETRIED = (408, 425, 429, 500, 502, 503, 504, 529)


class RefusedError(ServerError):
    """The server answers that it will not do this; asking again would not help."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(ServerError):
    """No whole answer came, however often the server was asked."""


@contextmanager
def as_documented(where: str) -> Iterator[None]:
    """Raise :class:`ServerError` where an answer is read that has another shape than is documented."""
    try:
        yield
    except CalbenchError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ServerError(
            f"{where}: an answer has another shape than is documented ({type(error).__name__}: {error})"
        ) from error


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Parameters
    ----------
    seconds
        For a whole answer, however slowly its bytes come.
    connect_seconds
        For a connection.
    n_tries
        How often a request is sent in all, if it meets 429, 5xx, or a lost connection.
    first_pause, longest_pause
        Seconds between tries; each pause is twice the last one, and what ``Retry-After`` says counts.
    """

    seconds: float = 120.0
    connect_seconds: float = 10.0
    n_tries: int = 6
    first_pause: float = 0.5
    longest_pause: float = 30.0


@dataclass(eq=False)
class Client:
    """One server's client; several threads may use it.

    Parameters
    ----------
    address
        Where requests go.
    key
        Sent as a bearer token; by default what the environment has for this server.
    """

    address: Address
    patience: Patience = field(default_factory=Patience)
    key: str | None = field(default=None, repr=False)
    _client: httpx.Client | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            import httpx
        except ImportError:
            raise BackendUnavailableError(
                "servers are asked with httpx; pip install 'calbench[served]'"
            ) from None
        from calbench.runtimes._deadline import limited

        near = is_near(self.address.host)
        self.key = self.key or key_for(self.address)
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        root, extensions = self.address.root, dict[str, Any]()
        if near:
            # The name was found to be near once; asking again, it could be made to mean another place.
            pinned = addresses_of(self.address.host)[0]
            headers["Host"] = self.address.root.partition("://")[2]
            extensions = {"sni_hostname": self.address.host}
            root = Address(self.address.scheme, pinned, self.address.port, "", "").root
        self._root, self._extensions = root, extensions
        made = httpx.Client(
            headers=headers,
            auth=None if self.key else self.address.credentials,
            timeout=httpx.Timeout(self.patience.seconds, connect=self.patience.connect_seconds),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
            follow_redirects=False,
            trust_env=not near,
        )
        self._client = limited(made)

    def close(self) -> None:
        """End all connections."""
        if self._client is not None:
            self._client.close()

    def get(self, path: str) -> Any:
        """Return the JSON at a path of the server's root (``/props``) or below the address (``./models``)."""
        return self._call("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON, return JSON.

        Raises
        ------
        RefusedError
            The server answers 4xx, or an error in a 200.
        ServerError
            It cannot be reached, is too slow, fails again and again, redirects, or sends no JSON.
        """
        return self._call("POST", path, body)

    def optional(self, path: str) -> Any:
        """Return the JSON at a path, or None if the server has no such path."""
        try:
            return self._call("GET", path, None)
        except ServerError as error:
            if isinstance(error, RefusedError) or "no JSON" in str(error):
                return None
            raise

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        base = self._root + (self.address.path + path[1:] if path.startswith("./") else path)
        pause, error = self.patience.first_pause, ServerError("never asked")
        for attempt in range(self.patience.n_tries):
            if attempt:
                time.sleep(min(pause, self.patience.longest_pause))
                pause *= 2
            status, text, wait = self._once(method, base, body)
            if status == 0 or status in _RETRIED:
                what = text if status == 0 else f"answers {status}: {_gist(text)}"
                error = ServerError(self._hidden(f"{self._shown(path)} {what}"))
                pause = max(pause, wait)
                continue
            return self._read(status, text, path)
        raise UnreachableError(f"{error} (asked {self.patience.n_tries} times)")

    def _once(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, str, float]:
        """Send a request once; status 0 means that no whole answer came, and the text says why."""
        import httpx

        from calbench.runtimes._deadline import ending_within

        assert self._client is not None  # noqa: S101 (made above)
        try:
            with (
                ending_within(self.patience.seconds),
                self._client.stream(method, url, json=body, extensions=self._extensions) as response,
            ):
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_BYTES:
                        return -1, f"sent more than {MAX_BYTES >> 20} MiB", 0.0
                if 300 <= response.status_code < 400:
                    return response.status_code, response.headers.get("location", ""), 0.0
                text = content.decode(errors="replace")
                return response.status_code, text, _seconds(response.headers.get("retry-after"))
        except httpx.TimeoutException:
            return 0, f"gives no whole answer within {self.patience.seconds:g} s", 0.0
        except (httpx.HTTPError, httpx.StreamError) as error:
            return 0, f"cannot be asked ({type(error).__name__}: {error}); is it running?", 0.0

    def _read(self, status: int, text: str, path: str) -> Any:
        error = self._problem(self._shown(path), status, text)
        if error is not None:
            raise error
        return json.loads(text)

    def _problem(self, where: str, status: int, text: str) -> ServerError | None:
        if status == -1:
            return ServerError(f"{where} {text}")
        if 300 <= status < 400:
            return ServerError(
                self._hidden(f"{where} redirects to {_gist(text)}, where nothing is sent; name that address")
            )
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if status >= 400:
            said = _message(value) or _gist(text)
            return RefusedError(self._hidden(f"{where} answers {status}: {said}"), status)
        if value is None:
            said = f"{where} sends no JSON but {_gist(text)!r}; is this the API's address?"
            return ServerError(self._hidden(said))
        if isinstance(value, dict) and (value.get("error") or value.get("object") == "error"):
            said = f"{where} answers {status} with an error: {_message(value)}"
            return RefusedError(self._hidden(said), status)
        return None

    def _shown(self, path: str) -> str:
        return self.address.root + (self.address.path + path[1:] if path.startswith("./") else path)

    def _hidden(self, text: str) -> str:
        return hidden(text, self.key, *(self.address.credentials or ()))


def _gist(text: str) -> str:
    return shorten(text, 200) or "nothing"


def _message(value: Any) -> str:
    found = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    return _gist(str(found)) if found else ""


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:  # a date; the usual pause will do
        return 0.0
