"""Models that ``calbench.toml`` declares."""

from __future__ import annotations

from typing import Any

from calbench.configuration import Table, declared
from calbench.errors import InputError
from calbench.models._registry import registry
from calbench.models._sources import ModelSource

_KEYS: dict[str, Any] = {
    "architecture": str,
    "location": str,
    "revision": str,
    "classes": list,
    "max_length": int,
    "baseline": str,
    "default_tasks": list,
    "quantization_task": str,
    "chat": (bool, str),
}


def source_of(table: Table) -> ModelSource:
    """Return the model that a table declares; nothing is fetched or loaded.

    Raises
    ------
    InputError
        A key is missing, unknown or of another type; file, line and column are named.
    """
    table.check(_KEYS, required=("architecture", "location"))
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.values.items()
    }
    # A folder is found relative to the file that names it; what is none may be a hub id.
    folder = table.folder / given["location"]
    if folder.is_dir():
        given["location"] = str(folder)
    try:
        return ModelSource(table.name[-1], **given)
    except InputError as error:
        raise table.error(None, str(error)) from None


def _register(table: Table) -> None:
    source = source_of(table)

    def declared_model() -> ModelSource:
        return source

    declared_model.__module__, declared_model.__qualname__ = str(table.path), table.name[-1]
    registry.register(table.name[-1])(declared_model)


for _table in declared("models"):
    _register(_table)
