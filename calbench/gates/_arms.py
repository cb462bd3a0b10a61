"""Named sets of probabilities of the same items."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from calbench.errors import UnknownNameError
from calbench.gates._fitted_split import Arm
from calbench.gates._requirement import Requirement
from calbench.metrics import Metric
from calbench.registry import unknown
from calbench.statistics import Change


class Arms(Protocol):
    """Gives arms by their names, each measured when it is first asked for."""

    @property
    def names(self) -> tuple[str, ...]:
        """The arms, in the order of tables."""
        ...

    def arm(self, name: str) -> Arm:
        """Return an arm; raises :class:`UnknownNameError` for a name that means nothing."""
        ...

    def pair(self, reference: str, candidate: str, metric: Metric) -> tuple[Arm, Arm]:
        """Return the reference's arm and the candidate's, as a metric of them is to be compared."""
        ...

    def flaw(self, name: str) -> str:
        """Say why an arm fails whatever its metrics are; ``""`` if it does not."""
        ...

    def moved_by_asking(self) -> float:
        """Return by how much asking the same items again moves a confidence on average; 0 if not known."""
        ...

    def recall(self, requirement: Requirement, level: float, make: Callable[[], Change]) -> Change:
        """Return what was measured, perhaps from an earlier run in which nothing was different."""
        ...


@dataclass(frozen=True, eq=False)
class NamedArms:
    """Arms that a function makes; see :class:`Arms`."""

    names: tuple[str, ...]
    make: Callable[[str], Arm] = field(repr=False)

    def arm(self, name: str) -> Arm:
        """See :class:`Arms`."""
        return self.make(name)

    def pair(self, reference: str, candidate: str, metric: Metric) -> tuple[Arm, Arm]:  # noqa: ARG002
        """See :class:`Arms`."""
        return self.arm(reference), self.arm(candidate)

    def flaw(self, name: str) -> str:  # noqa: ARG002 (no arm has one)
        """See :class:`Arms`."""
        return ""

    def moved_by_asking(self) -> float:
        """See :class:`Arms`."""
        return 0.0

    def recall(
        self,
        requirement: Requirement,  # noqa: ARG002 (nothing is kept)
        level: float,  # noqa: ARG002
        make: Callable[[], Change],
    ) -> Change:
        """See :class:`Arms`."""
        return make()


def no_arm(name: str, known: Iterable[str]) -> UnknownNameError:
    """Word the error for an arm that does not exist."""
    return UnknownNameError(unknown("arm", name, known))
