"""Tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from calbench.registry import Registry
from calbench.tasks.classification import SequenceClassification

registry: Registry[Callable[[], SequenceClassification]] = Registry(
    "task", "calbench.tasks", builtin_modules=("calbench.tasks.sentiment",)
)
task = registry.register


@cache
def get(name: str) -> SequenceClassification:
    """Return the task with this id; its items load when they are first needed.

    Raises
    ------
    UnknownNameError
        No task has the id.
    """
    return registry.get(name)()


def names() -> tuple[str, ...]:
    """Ids of all tasks, sorted."""
    return registry.names()
