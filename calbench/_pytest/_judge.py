"""From a requirement to a test's fate: pass, fail with an explanation, or too few items to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

import pytest

from calbench._pytest._log import Gate
from calbench._pytest._options import Options
from calbench.errors import BackendUnavailableError, CalbenchError
from calbench.gates import Requirement
from calbench.report import gate_of
from calbench.statistics import Change, GateDecision, Resampled, exceedance_p_value

T = TypeVar("T")


class Evidence(Protocol):
    """What a requirement is judged by, and where to look if it does not hold."""

    @property
    def candidate(self) -> str:
        """What is judged, in a word."""
        ...

    @property
    def reference(self) -> str | None:
        """What it is compared with."""
        ...

    def change(self, requirement: Requirement) -> Change:
        """Return the numbers."""
        ...

    def resampled(self, requirement: Requirement) -> tuple[Resampled, Resampled | None]:
        """Return the metric of both, for a p-value."""
        ...

    def explain(self, requirement: Requirement, decision: GateDecision) -> str:
        """Say what happened to whom, by how much, with what certainty, and what to do."""
        ...


class Judge:
    """Judges the requirements of one test.

    Parameters
    ----------
    options
        What becomes of inconclusive gates, and whether they are corrected for their number.
    test
        The test's id.
    subject
        The cell's id, or the name of what is compared.
    """

    def __init__(self, options: Options, test: str, subject: str) -> None:
        self._options, self._test, self._subject = options, test, subject

    def judge(
        self,
        requirement: Requirement,
        evidence: Evidence,
        gates: list[Gate],
        accepted: Mapping[str, str],
    ) -> None:
        """Record the gate; fail the test if the requirement is shown not to hold."""
        decision = self.guarded(lambda: requirement.judge(evidence.change(requirement)))
        gate: Gate = {
            **gate_of(
                decision,
                test=self._test,
                candidate=evidence.candidate,
                reference=evidence.reference or "",
            ),
            "limit": requirement.keyword,
            "p_value": None,
            "explanation": None,
        }
        gates.append(gate)
        failed = decision.outcome == "fail"
        undecided = decision.outcome == "inconclusive" and self._options.inconclusive == "fail"
        if not (failed or undecided):
            return
        gate["explanation"] = self.guarded(lambda: evidence.explain(requirement, decision))
        gate["accepted"] = reason_for(self._subject, accepted)
        if failed and self._options.correction == "holm":
            gate["p_value"] = self.guarded(lambda: _p_value(requirement, evidence))
            return  # whether it stays a failure is known when all gates are
        if not gate["accepted"]:
            pytest.fail(gate["explanation"], pytrace=False)

    def guarded(self, work: Callable[[], T]) -> T:
        """Run a part of the test; skip what cannot run here, fail on bad input without a traceback."""
        try:
            return work()
        except CalbenchError as error:
            problem = error
        # Outside of the handler, or pytest would show the traceback as well.
        if isinstance(problem, BackendUnavailableError):
            pytest.skip(str(problem))
        pytest.fail(f"{self._subject}: {type(problem).__name__}: {problem}", pytrace=False)


def reason_for(name: str, accepted: Mapping[str, str]) -> str | None:
    """Return why a failure of that name is accepted: the first reason whose glob, or very name, it has."""
    return next((why for glob, why in accepted.items() if name == glob or fnmatchcase(name, glob)), None)


def _p_value(requirement: Requirement, evidence: Evidence) -> float:
    return exceedance_p_value(
        *evidence.resampled(requirement), limit=requirement.limit, relative=requirement.relative
    )
