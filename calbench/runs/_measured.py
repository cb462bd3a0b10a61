"""A cell's comparison, and the records it was computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from calbench.gates import Arm, Comparison
from calbench.runs._cells import Cell
from calbench.runs._inference_run import NOISE_PROMISED, NOTES, similar
from calbench.store import StoredPredictions


@dataclass(frozen=True)
class Measured:
    """A cell's transfer for one seed, and the records it was computed from.

    Attributes
    ----------
    cell, seed
        What was measured.
    comparison
        The five arms.
    reference, candidate
        The records.
    ranked
        Gives the arm that calibrators are ranked by: on items that all of them share.
    epsilons
        Unit errors of the two precisions; None where they are not known.
    """

    cell: Cell
    seed: int
    comparison: Comparison
    reference: StoredPredictions
    candidate: StoredPredictions
    ranked: Callable[[], Arm] = field(repr=False)
    epsilons: tuple[float | None, float | None] = (None, None)

    @property
    def moved_by_asking(self) -> float:
        """By how much asking again moves a confidence on average: the least margin of a calibration error.

        What is promised of float32 counts as nothing, and so does a record beside itself.
        """
        if self.reference is self.candidate:
            return 0.0
        sides = (self.reference, self.candidate)
        moved = max(float(side.provenance.get("confidence_floor") or 0.0) for side in sides)
        return moved if moved > NOISE_PROMISED else 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the numbers must know, of the result and of how the records came about."""
        sides = {"reference": self.reference, "quantized": self.candidate}
        if self.reference is self.candidate:
            del sides["quantized"]
        noted = ((name, say(record)) for name, record in sides.items() for say in NOTES)
        alike = filter(None, [similar(self.reference)])
        return (*self.comparison.warnings, *alike, *(f"{name}: {note}" for name, note in noted if note))
