"""Models that ``calbench.toml`` declares."""

from __future__ import annotations

import re
from typing import Any

from calbench.configuration import Table, declared
from calbench.errors import InputError
from calbench.models._registry import registry
from calbench.models._served import builds_of, has_credentials, is_address
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
    "multi_label": bool,
}
_SERVED: dict[str, Any] = {
    "served": dict,
    "tokenizer": str,
    "reference": str,
    "revision": str,
    "max_length": int,
    "default_tasks": list,
}
_BUILD = re.compile(r"[a-z0-9][a-z0-9._-]*")


def source_of(table: Table) -> ModelSource:
    """Return the model that a table declares; nothing is fetched or loaded.

    Raises
    ------
    InputError
        A key is missing, unknown or of another type; file, line and column are named.
    """
    if "served" in table.values:
        return _served(table)
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


def _served(table: Table) -> ModelSource:
    """Return a model whose builds are served, each at an address of its own."""
    table.check(_SERVED)
    given = table.values
    builds = given["served"]
    for name, address in builds.items():
        if not _BUILD.fullmatch(name) or not isinstance(address, str) or not is_address(address):
            raise table.error(
                "served", f'served.{name} is {address!r}; write served.bf16 = "http://host/v1#model"'
            )
        if has_credentials(address):
            raise table.error(
                "served",
                f"served.{name} holds a user or a password; take it out, and put a key into the variable"
                " CALBENCH_API_KEY of the environment",
            )
    reference = given.get("reference", next(iter(builds), ""))
    if reference not in builds:
        raise table.error(
            "reference" if "reference" in given else "served",
            f"reference is {reference!r}; name one of the builds served.{', served.'.join(builds) or 'NAME'}",
        )
    place = given.get("tokenizer", "")
    if place and (table.folder / place).is_dir():
        place = str(table.folder / place)
    return ModelSource(
        table.name[-1],
        "causal-lm",
        place,
        revision=given.get("revision"),
        max_length=given.get("max_length", 4096),
        default_tasks=tuple(given.get("default_tasks", ())),
        baseline=f"served as {reference}",
        builds=builds_of(builds),
        reference=reference,
        declared=True,
    )


def _register(table: Table) -> None:
    def declared_model() -> ModelSource:
        return source_of(table)  # read when it is asked for: a wrong one must not keep others from running

    declared_model.__module__, declared_model.__qualname__ = str(table.path), table.name[-1]
    registry.register(table.name[-1])(declared_model)


for _table in declared("models"):
    _register(_table)
