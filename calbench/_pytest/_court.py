"""From a decision to a test's fate: kept with the test, and where it has to be, the test fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import pytest

from calbench._pytest._log import TestLog
from calbench._pytest._options import Options
from calbench.gates import Comparison, Decision, Gate, Requirement


@dataclass(frozen=True, eq=False)
class TestCourt:
    """Judges the requirements of one test; see :class:`calbench.gates.Court`.

    Parameters
    ----------
    options
        What becomes of inconclusive gates, and whether they are corrected for their number.
    test
        The test's id.
    subject
        The cell's id, or the name of what is compared: what ``accepted`` matches.
    gates
        Where decisions are kept.
    log
        Of the test.
    whom
        What is judged, in a line of an explanation.
    details
        Gives further lines, after the figures and at the end.
    admits
        Whether a requirement is to be decided in this run.
    """

    __test__ = False  # no test class, whatever its name says

    options: Options
    test: str
    subject: str
    gates: list[Gate]
    log: TestLog
    whom: str = ""
    details: Callable[[Comparison, Decision], tuple[list[str], list[str]]] = lambda *_: ([], [])
    admits: Callable[[Requirement], bool] = field(default=lambda _: True)

    def asks(self, requirement: Requirement) -> bool:
        """Whether a requirement is to be decided in this run."""
        self.log.asked = True
        return self.admits(requirement)

    def settle(self, comparison: Comparison, decision: Decision, accepted: Mapping[str, str]) -> None:
        """Record the gate; fail the test if the requirement is shown not to hold."""
        self.log.asked = True
        gate = decision.to_plain(test=self.test)
        self.gates.append(gate)
        self.log.accepted += [
            (glob, gate["outcome"] if _fits(self.subject, glob) else "") for glob in accepted
        ]
        failed = decision.outcome == "fail"
        undecided = decision.outcome == "inconclusive" and self.options.inconclusive == "fail"
        if not (failed or undecided):
            return
        after, last = self.details(comparison, decision)
        accepting = f"to accept it, give this requirement accepted={{{self.subject!r}: 'why'}}"
        explained = comparison.explain(decision, whom=self.whom, further=tuple(after))
        explanation = "\n  ".join([explained, *(last or [accepting])])
        gate["explanation"] = explanation
        gate["accepted"] = next((why for glob, why in accepted.items() if _fits(self.subject, glob)), None)
        if failed and self.options.correction == "holm":
            gate["p_value"] = comparison.p_value(decision)
            return  # whether it stays a failure is known when all gates are
        if not gate["accepted"]:
            self.log.by_gate = True
            pytest.fail(explanation, pytrace=False)


def _fits(name: str, glob: str) -> bool:
    return name == glob or fnmatchcase(name, glob)
