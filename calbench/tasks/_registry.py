"""Tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from calbench.errors import InputError
from calbench.registry import Argument, Registry, Spec, arguments_of, bind
from calbench.tasks._classification import SequenceClassification
from calbench.tasks._decision import Decision
from calbench.tasks._generation import Generation
from calbench.tasks._harness_tasks import HarnessChoice, HarnessGeneration
from calbench.tasks._multiple_choice import MultipleChoice

ClosedTask = SequenceClassification | MultipleChoice
Task = ClosedTask | Decision | Generation

# What an id may give in brackets; the rest is the task's own.
_ARGUMENTS: dict[type[Task], tuple[str, ...]] = {
    SequenceClassification: ("chat",),
    MultipleChoice: ("rule", "n_shots", "chat", "multiturn"),
    Decision: ("order",),
    Generation: ("confidence", "n_shots", "max_new_tokens", "chat", "multiturn"),
    HarnessChoice: ("rule", "chat", "multiturn"),
    HarnessGeneration: ("confidence", "chat", "multiturn"),
}

registry: Registry[Callable[[], Task]] = Registry(
    "task",
    "calbench.tasks",
    builtin_modules=tuple(
        f"calbench.tasks.{module}" for module in ("_sentiment", "_questions", "_configured")
    ),
)
task = registry.register


def registered(name: str) -> Task:
    """Return the task with this id, made once; see :func:`calbench.tasks.get`."""
    spec = Spec.parse(name)
    return _made(registry.get(spec.name), spec)


@cache
def _made(factory: Callable[[], Task], spec: Spec) -> Task:
    return _with_arguments(factory(), spec) if spec.arguments else factory()


def arguments_taken(asked: Task) -> tuple[str, ...]:
    """Return what the id of a task may give in brackets."""
    return _ARGUMENTS.get(type(asked), ())


def closed(asked: Task) -> ClosedTask:
    """Return a task whose classes or options a model here is asked; raises :class:`InputError` for others."""
    if isinstance(asked, Decision):
        raise InputError(
            f"{asked.id!r} is asked of decision servers alone, of which no weights are here; choose a task of"
            " classification or multiple choice"
        )
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
    """Return the task with what an id gives in brackets; what it leaves out is the task's own."""
    kinds = arguments_of(type(found))
    allowed = {n: Argument(kinds[n].kind, getattr(found, n)) for n in arguments_taken(found)}
    canonical, values = bind(spec, allowed)
    return replace(found, id=canonical, **values)
