"""A cell's comparison, and the records it was computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from calbench.gates import Arm, Comparison
from calbench.runs._cells import Cell
from calbench.runs._inference_run import NOTES, similar
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
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the numbers must know, of the result and of how the records came about."""
        sides = {"reference": self.reference, "quantized": self.candidate}
        if self.reference is self.candidate:
            del sides["quantized"]
        noted = ((name, say(record)) for name, record in sides.items() for say in NOTES)
        alike = filter(None, [similar(self.reference)])
        return (*self.comparison.warnings, *alike, *(f"{name}: {note}" for name, note in noted if note))
