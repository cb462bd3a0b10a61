"""Tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from calbench.errors import InputError
from calbench.registry import Registry, Spec
from calbench.tasks.classification import SequenceClassification
from calbench.tasks.multiple_choice import MultipleChoice

Task = SequenceClassification | MultipleChoice

registry: Registry[Callable[[], Task]] = Registry(
    "task",
    "calbench.tasks",
    builtin_modules=tuple(
        f"calbench.tasks.{module}" for module in ("sentiment", "questions", "published", "configured")
    ),
)
task = registry.register


@cache
def get(name: str) -> Task:
    """Return the task with this id; its items load when they are first needed.

    A multiple-choice task takes arguments in brackets: ``mmlu[rule=sum,n_shots=5]``.

    Raises
    ------
    UnknownNameError
        No task has the id.
    InputError
        The task does not take such an argument.
    """
    spec = Spec.parse(name)
    found = registry.get(spec.name)()
    return _with_arguments(found, spec) if spec.arguments else found


def names() -> tuple[str, ...]:
    """Ids of all tasks, sorted."""
    return registry.names()


def _with_arguments(found: Task, spec: Spec) -> Task:
    if not isinstance(found, MultipleChoice):
        raise InputError(f"the task {spec.name!r} takes no arguments, and {spec.id!r} gives some")
    given = dict(spec.arguments)
    rule, n_shots = given.pop("rule", found.rule), given.pop("n_shots", str(found.n_shots))
    if given:
        raise InputError(f"{spec.id!r}: a multiple-choice task takes rule and n_shots, not {min(given)!r}")
    if not n_shots.isdecimal():
        raise InputError(f"{spec.id!r}: n_shots is {n_shots!r}; give a whole number")
    return replace(found, id=spec.id, rule=rule, n_shots=int(n_shots))  # type: ignore[arg-type]  # checked there
