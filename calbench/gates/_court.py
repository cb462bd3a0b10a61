"""Who hears what becomes of a requirement: outside of a test, what is shown not to hold raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from calbench.errors import GateFailedError, InputError
from calbench.gates._decision import Decision
from calbench.gates._requirement import Requirement

if TYPE_CHECKING:
    from calbench.gates._comparison import Comparison


class Court(Protocol):
    """What becomes of a requirement once it is decided."""

    def asks(self, requirement: Requirement) -> bool:
        """Whether a requirement is to be decided at all."""
        ...

    def settle(self, comparison: Comparison, decision: Decision, accepted: Mapping[str, str]) -> None:
        """Keep the decision, or raise."""
        ...


class Raising:
    """Outside of a test: what is shown not to hold raises."""

    def asks(self, requirement: Requirement) -> bool:  # noqa: ARG002 (everything is asked)
        """See :class:`Court`."""
        return True

    def settle(self, comparison: Comparison, decision: Decision, accepted: Mapping[str, str]) -> None:
        """See :class:`Court`."""
        if accepted:
            raise InputError("accepted= is for tests, which have names; leave it out here")
        if decision.outcome == "fail":
            raise GateFailedError(comparison.explain(decision))
