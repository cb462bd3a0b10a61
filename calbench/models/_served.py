"""Models that are served: addresses, which of them may be asked, and what of them may be written down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from calbench.errors import InputError

SERVED = "served"
# An address that ends so is asked there, and in no other way.
CHAT, DECISIONS = "/chat/completions", "/systemone"
# By the public address: neither a record nor a repr may hold them.
_CREDENTIALS: dict[str, tuple[str, str]] = {}


@dataclass(frozen=True)
class Address:
    """Where a served model is asked; holds no credentials.

    Parameters
    ----------
    scheme, host, port
        ``"http"`` or ``"https"``, and where the server listens.
    path
        What comes before an endpoint's own name, such as ``"/v1"``; no slash at its end.
    model
        The name by which the server knows the model; empty asks the server for its only one.
    """

    scheme: str
    host: str
    port: int
    path: str
    model: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``http://host:port/v1#model``; a ``user:password@`` is kept in memory alone.

        >>> str(Address.parse("http://me:secret@localhost:8000/v1#llama"))
        'http://localhost:8000/v1#llama'

        Raises
        ------
        InputError
            It is no such address.
        """
        shown = re.sub(r"\?[^#]*", "?...", re.sub(r"//[^/@]*@", "//", text))  # either may hold a key
        try:
            parts = urlsplit(text.strip())
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise InputError(f"cannot read the address {shown!r}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise InputError(f"cannot read the address {shown!r}; write http://host:port/v1#model")
        found = cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), unquote(parts.fragment))
        if parts.username or parts.password:
            _CREDENTIALS[found.base] = (unquote(parts.username or ""), unquote(parts.password or ""))
        return found

    @property
    def root(self) -> str:
        """The server without a path: ``http://host:port``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != usual else "")

    @property
    def base(self) -> str:
        """Without the model's name."""
        return self.root + self.path

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password that the address was written with."""
        return _CREDENTIALS.get(self.base)

    def __str__(self) -> str:
        return self.base + (f"#{quote(self.model, safe='/:@')}" if self.model else "")


def has_credentials(text: str) -> bool:
    """Whether an address holds a user or a password."""
    return "@" in urlsplit(text).netloc


def is_address(place: str) -> bool:
    """Whether a name is a server's address.

    >>> is_address("http://localhost:8000/v1#m"), is_address("./model")
    (True, False)
    """
    return place.startswith(("http://", "https://"))


def is_chat(place: str) -> bool:
    """Whether an address is that of a chat endpoint."""
    return place.partition("#")[0].rstrip("/").endswith(CHAT)


def is_decision_server(place: str) -> bool:
    """Whether an address is that of a decision model.

    >>> is_decision_server("http://localhost:8000/v1/systemone#m")
    True
    """
    return place.partition("#")[0].rstrip("/").endswith(DECISIONS)


def builds_of(addresses: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return builds by name with their public addresses; raises :class:`InputError` for one that is none."""
    return tuple((name, str(Address.parse(address))) for name, address in addresses.items())
