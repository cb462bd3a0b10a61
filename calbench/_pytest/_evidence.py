"""What a requirement on a cell, or on the user's own records, is judged by."""

from __future__ import annotations

from dataclasses import dataclass

from calbench._pytest._measurement import MeasuredCell
from calbench.gates import Comparison, Requirement, figures, headline, what_moved, where_it_lies
from calbench.runs import Cell
from calbench.statistics import Change, GateDecision, Resampled


@dataclass(frozen=True, eq=False)
class CellEvidence:
    """An arm of a cell, alone or beside another arm.

    Attributes
    ----------
    cell
        What was measured.
    candidate, reference
        The arms; a reference may also be another calibrator.
    """

    cell: MeasuredCell
    candidate: str
    reference: str | None

    def change(self, requirement: Requirement) -> Change:
        """Return the numbers."""
        return self.cell.change(requirement, self.candidate, self.reference)

    def resampled(self, requirement: Requirement) -> tuple[Resampled, Resampled | None]:
        """Return the metric of both."""
        return self.cell.resampled(requirement, self.candidate, self.reference)

    def explain(self, requirement: Requirement, decision: GateDecision) -> str:
        """Say what happened to the cell, and what to do."""
        cell, measured = self.cell.cell, self.cell.measured
        pair = self.cell.pair(self.candidate, self.reference)
        alone = self.reference is None
        look = where_it_lies(pair.item_ids, pair.candidate) if alone else what_moved(pair)
        arms = [
            f"{shown} {self.cell.resampled(requirement, arm, None)[0].value:.4f}"
            for shown, arm in (
                ("raw: reference", "raw_reference"),
                ("quantized", "raw_candidate"),
                ("refitted on the quantized model", "native"),
            )
        ]
        lines = [
            headline(decision, requirement.keyword),
            whom(cell),
            f"{figures(decision, _shown(self.candidate), self.reference and _shown(self.reference))},"
            f" seed {measured.seed}",
            ", ".join(arms),
            *look,
            *needed(decision),
            *(f"note: {warning}" for warning in measured.warnings),
            f"records: reference {measured.reference.key}",
            f"         candidate {measured.candidate.key}",
            f"to accept it, give this requirement accepted={{{cell.id!r}: 'why'}}",
        ]
        return "\n  ".join(lines)


@dataclass(frozen=True, eq=False)
class ComparisonEvidence:
    """Two records of the user's own."""

    comparison: Comparison
    name: str
    candidate: str = "candidate"
    reference: str | None = "reference"

    def change(self, requirement: Requirement) -> Change:
        """Return the numbers."""
        return self.comparison.change(requirement)

    def resampled(self, requirement: Requirement) -> tuple[Resampled, Resampled | None]:
        """Return the metric of both."""
        return self.comparison.resampled(requirement)

    def explain(self, requirement: Requirement, decision: GateDecision) -> str:
        """Say what happened, and what to do."""
        return "\n  ".join(
            [
                self.comparison.explain(requirement, decision),
                *needed(decision),
                f"to accept it, give this requirement accepted={{{self.name!r}: 'why'}}",
            ]
        )


def whom(cell: Cell) -> str:
    """Name a cell's parts."""
    return f"model {cell.model}, task {cell.task}, quantizer {cell.quantizer}, calibrator {cell.calibrator}"


def needed(decision: GateDecision) -> list[str]:
    """Say how many items would decide."""
    if not decision.items_needed:
        return []
    return [f"about {decision.items_needed:,} test items would decide it"]


def _shown(arm: str) -> str:
    return arm.replace("_", " ")
