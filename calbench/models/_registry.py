"""Models by name."""

from __future__ import annotations

from collections.abc import Callable

from calbench.models._sources import ModelSource
from calbench.registry import Registry

registry: Registry[Callable[[], ModelSource]] = Registry(
    "model",
    "calbench.models",
    builtin_modules=tuple(
        f"calbench.models.{module}" for module in ("_embedded", "_published", "_configured")
    ),
)
model = registry.register


def names() -> tuple[str, ...]:
    """Ids of all models, sorted."""
    return registry.names()
