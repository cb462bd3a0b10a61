"""Which hosts may be asked, and which of them are sent a key."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

from calbench.errors import InputError, ServerError
from calbench.models import Address

KEYS = "CALBENCH_API_KEY"
ALLOWED = "CALBENCH_ALLOW_HOST"
MAX_AGE = "CALBENCH_MAX_AGE"


def addresses_of(host: str) -> tuple[str, ...]:
    """Return the IP addresses of a host; raises :class:`ServerError` if it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ServerError(f"the host {host!r} cannot be found ({error}); check the address") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_near(host: str) -> bool:
    """Whether a host is this machine or in a private network: all its addresses are.

    Link-local addresses are not: at one of them clouds hand out their machines' credentials.
    """
    found = [ip_address(address.partition("%")[0]) for address in addresses_of(host)]
    return all(
        (ip.is_loopback or ip.is_private) and not (ip.is_link_local or ip.is_unspecified) for ip in found
    )


def allowed_hosts() -> frozenset[str]:
    """Hosts that ``CALBENCH_ALLOW_HOST`` names; child processes inherit them."""
    return frozenset(filter(None, os.environ.get(ALLOWED, "").split(",")))


def allow(hosts: Collection[str]) -> None:
    """Let ``calbench.toml`` name these hosts, outside of this machine and private networks, in this run."""
    os.environ[ALLOWED] = ",".join(sorted(allowed_hosts() | set(hosts)))


def forget_after(days: float) -> None:
    """Ask servers anew, in this run, if what they said is older than so many days."""
    if not days > 0:
        raise InputError(f"the largest age is {days:g} days; give more than 0")
    os.environ[MAX_AGE] = f"{days:g}"


def oldest_answer() -> str | None:
    """Return the moment before which such an answer is too old (UTC, ISO 8601); None if none ever is."""
    days = os.environ.get(MAX_AGE, "")
    try:
        return (datetime.now(timezone.utc) - timedelta(days=float(days))).isoformat() if days else None
    except (ValueError, OverflowError):
        raise InputError(f"${MAX_AGE} is {days!r}; give a number of days") from None


def check_host(address: Address, *, declared: bool) -> None:
    """Refuse a host that a file names and nobody allowed.

    A file may come with a pull request; what it names must not be sent prompts or keys.

    Raises
    ------
    InputError
        ``declared`` and the host is neither near nor allowed.
    """
    if declared and address.host not in allowed_hosts() and not is_near(address.host):
        raise InputError(
            f"calbench.toml names the server {address.root}, outside of this machine and private networks;"
            f" if that is meant set {ALLOWED}={address.host}"
        )


def key_for(address: Address) -> str | None:
    """Return the API key for a server, or None.

    ``CALBENCH_API_KEY_`` with host and port in capitals (``CALBENCH_API_KEY_GPU1_8000``) comes before that
    with the host (``CALBENCH_API_KEY_API_EXAMPLE_COM``), and that before ``CALBENCH_API_KEY``. Over plain
    http a key is sent to this machine and to private networks only.
    """
    own = f"{KEYS}_{re.sub('[^A-Z0-9]', '_', address.host.upper())}"
    names = (f"{own}_{address.port}", own, KEYS)
    key = next(filter(None, map(os.environ.get, names)), None)
    return key if key and (address.scheme == "https" or is_near(address.host)) else None


def hidden(text: str, *secrets: str | None) -> str:
    """Return a text without secrets: a server may repeat what it was sent."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "(hidden)")
    return text
