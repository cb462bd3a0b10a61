"""Tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from calbench.errors import InputError
from calbench.registry import Registry, Spec
from calbench.tasks._classification import SequenceClassification
from calbench.tasks._generation import Generation
from calbench.tasks._multiple_choice import MultipleChoice

ClosedTask = SequenceClassification | MultipleChoice
Task = ClosedTask | Generation

# What an id may give in brackets; the rest is the task's own.
_ARGUMENTS: dict[type[Task], dict[str, type[int | str]]] = {
    MultipleChoice: {"rule": str, "n_shots": int},
    Generation: {"confidence": str, "n_shots": int, "max_new_tokens": int},
}

registry: Registry[Callable[[], Task]] = Registry(
    "task",
    "calbench.tasks",
    builtin_modules=tuple(
        f"calbench.tasks.{module}" for module in ("_sentiment", "_questions", "_configured")
    ),
)
task = registry.register


@cache
def registered(name: str) -> Task:
    """Return the task with this id; see :func:`calbench.tasks.get`."""
    spec = Spec.parse(name)
    found = registry.get(spec.name)()
    return _with_arguments(found, spec) if spec.arguments else found


def closed(asked: Task) -> ClosedTask:
    """Return a task whose answers are classes or options; raises :class:`InputError` for open questions."""
    if isinstance(asked, Generation):
        raise InputError(
            f"the questions of {asked.id!r} are open: there is no probability of every answer to compare, or"
            " to train on; choose a task of classification or multiple choice"
        )
    return asked


def names() -> tuple[str, ...]:
    """Ids of all tasks, sorted."""
    return registry.names()


def _with_arguments(found: Task, spec: Spec) -> Task:
    taken = _ARGUMENTS.get(type(found))
    if taken is None:
        raise InputError(f"the task {spec.name!r} takes no arguments, and {spec.id!r} gives some")
    given: dict[str, Any] = {}
    for name, text in spec.arguments:
        if name not in taken:
            raise InputError(f"{spec.id!r}: this task takes {' and '.join(taken)}, not {name!r}")
        if taken[name] is int and not text.isdecimal():
            raise InputError(f"{spec.id!r}: {name} is {text!r}; give a whole number")
        given[name] = taken[name](text)
    return replace(found, id=spec.id, **given)
