"""Which packages a backend needs, and what to install when one is missing."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

from calbench.errors import BackendUnavailableError


def require(quantizer_id: str, packages: tuple[str, ...], *, extra: str) -> None:
    """Check that packages can be imported, without importing them.

    Raises
    ------
    BackendUnavailableError
        One is missing; the message names the extra that brings it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise BackendUnavailableError(
            f"{quantizer_id} needs {' and '.join(missing)}; pip install 'calbench[{extra}]'"
        )


def installed_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of the distributions that are installed, by name."""
    found = (point for package in packages for point in metadata.distributions(name=package))
    return {distribution.name: distribution.version for distribution in found}
