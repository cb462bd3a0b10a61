"""Who is told what long work is under way."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Advance(Protocol):
    """Is told how many items are done, and perhaps what to note about them, such as the loss."""

    def __call__(self, n_done: int, note: str = "") -> None: ...


class Progress(Protocol):
    """Is told what long work is under way."""

    def step(self, what: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Show a step while a block runs; what the block gets is called with the number of items done."""
        ...


class Silence:
    """A :class:`Progress` that says nothing."""

    def step(self, what: str, total: int | None = None) -> AbstractContextManager[Advance]:  # noqa: ARG002
        """Say nothing."""
        return nullcontext(lambda n_done, note="": None)  # noqa: ARG005
