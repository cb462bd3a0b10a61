"""Which packages a backend needs, and what to install when one is missing or cannot be imported."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from calbench.errors import BackendUnavailableError
from calbench.models import quiet


def require(quantizer_id: str, packages: tuple[str, ...], *, extra: str) -> None:
    """Check that packages can be found, without importing them.

    Raises
    ------
    BackendUnavailableError
        One is missing; the message names the extra that brings it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise BackendUnavailableError(
            f"{quantizer_id} needs {' and '.join(missing)}, which {verb} not installed;"
            f" pip install 'calbench[{extra}]'"
        )


def backend(quantizer_id: str, module: str, *, extra: str) -> Any:
    """Import a backend's module, without its notices.

    Raises
    ------
    BackendUnavailableError
        It is missing, or it is there and cannot be imported: the message quotes why.
    """
    package = module.partition(".")[0]
    require(quantizer_id, (package,), extra=extra)
    try:
        with quiet():
            return importlib.import_module(module)
    except Exception as error:  # a library of compiled code fails to import in any way it likes
        found = ", ".join(f"{k} {v}" for k, v in installed_versions((package,)).items()) or package
        raise BackendUnavailableError(
            f"{quantizer_id} cannot run: {found} is installed but importing {module} fails"
            f" ({type(error).__name__}: {error}); pip install --force-reinstall {package}"
        ) from error


def installed_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of the distributions that are installed, by name."""
    return {name: version for package in packages for name, version in _found(package, tuple(sys.path))}


@cache  # every cell's key asks, and each answer parses a file
def _found(package: str, path: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = metadata.distributions(name=package, path=list(path))
    return tuple((distribution.name, distribution.version) for distribution in found)
