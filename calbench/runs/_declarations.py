"""What models declare, without ending a run where one declares something wrong; and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass

from calbench import models, tasks
from calbench.errors import CalbenchError, UnknownNameError
from calbench.models import ModelSource
from calbench.registry import Spec

REFERENCE = "fp32"


def declared_source(model: str) -> ModelSource | None:
    """Return a model's declaration; None where it is wrong, which each of its cells says."""
    try:
        return models.get(model)
    except UnknownNameError:
        raise
    except CalbenchError:
        return None


def reference_of(model: str) -> str:
    """Return what a model's quantizers are compared with."""
    source = declared_source(model)
    return source.reference if source else REFERENCE


def builds_of(model: str) -> tuple[tuple[str, str], ...]:
    """Return a served model's builds and their addresses."""
    source = declared_source(model)
    return source.builds if source else ()


@dataclass(frozen=True)
class Turns:
    """How a whole run asks causal models: ``chat`` is ``"true"`` or a system prompt, or None."""

    chat: str | None = None
    multiturn: bool | None = None

    def asked(self, model: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return tasks with what is said of how a causal LM is asked; a head is asked as it is."""
        source = None if self.chat is None else declared_source(model)
        if source is None or source.architecture != "causal-lm":
            return names
        return tuple(self._asked(name) for name in names)

    def _asked(self, task: str) -> str:
        try:
            return tasks.in_turns(task, chat=self.chat or "false", multiturn=self.multiturn)
        except CalbenchError:
            return task  # whatever is wrong with it, its cells say

    def as_written(self, task: str) -> str:
        """Return the id of a task without what is said here."""
        spec, said = Spec.parse(task), {"chat": self.chat, "multiturn": str(self.multiturn).lower()}
        return Spec(spec.name, tuple(pair for pair in spec.arguments if said.get(pair[0]) != pair[1])).id
