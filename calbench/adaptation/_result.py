"""Arms on the same items: what each is worth, what tells them apart, and which have collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from calbench import calibrators
from calbench.adaptation._collapse import Collapse, collapse_of
from calbench.adaptation._effects import METRICS, Effect, effects
from calbench.adaptation._recovery import Recovery, recovered_fraction
from calbench.adaptation._variants import ArmDesign, Contrast, contrasts_of
from calbench.errors import InputError
from calbench.gates import Arm, Side
from calbench.registry import unknown
from calbench.statistics import Estimate, GateDecision, Resampled, decide
from calbench.store import Record


@dataclass(frozen=True, eq=False)
class ArmsResult:
    """Several arms of one model and task, measured on the same test items with the same resamples.

    Parameters
    ----------
    model, task, quantizer, seed
        What was compared.
    arms
        The designs, in the order of tables.
    sides
        Each arm's calibration and test records.
    records
        Each arm's stored record.
    training
        What each adapter's training saw; empty for arms without one.
    n_training
        Items that every adapter learned from.
    level
        Of all intervals.
    """

    model: str
    task: str
    quantizer: str
    seed: int
    arms: tuple[ArmDesign, ...]
    sides: Mapping[str, Side] = field(repr=False)
    records: Mapping[str, Record] = field(repr=False)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    n_training: int = 0
    level: float = 0.95

    def side(self, arm: str) -> Side:
        """Return one arm's side; raises :class:`InputError` if it is not part of the comparison."""
        if arm not in self.sides:
            raise InputError(unknown("arm", arm, self.sides))
        return self.sides[arm]

    def arm(self, arm: str, calibrator: str | None = None) -> Arm:
        """Return one arm's answers, as they are or with a calibrator fitted on its calibration items."""
        side = self.side(arm)
        if calibrator is None:
            return side.raw
        return side.calibrated(calibrator, calibrators.get(calibrator))

    def measured(self, arm: str, metric: str, calibrator: str | None = None) -> Resampled:
        """Return one metric of one arm on the items and on all resamples."""
        found = self.arm(arm, calibrator).measured
        if metric not in found:
            raise InputError(unknown("measured metric", metric, found))
        return found[metric]

    def estimate(self, arm: str, metric: str, calibrator: str | None = None) -> Estimate:
        """Return one metric of one arm with its interval, which allows for the bias of ECE."""
        return self.measured(arm, metric, calibrator).estimate(self.level, method="bounds")

    @cached_property
    def collapsed(self) -> dict[str, Collapse]:
        """The arms that are not shown to beat the commonest answer."""
        found = ((arm.id, collapse_of(self.arm(arm.id), level=self.level)) for arm in self.arms)
        return {name: collapse for name, collapse in found if collapse is not None}

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """Every contrast that the arms can answer, for every metric, corrected together."""
        return self.effects_of(contrasts_of(self.sides))

    def effects_of(
        self, contrasts: Sequence[Contrast], metrics: Sequence[str] = METRICS
    ) -> tuple[Effect, ...]:
        """Estimate contrasts of one's own; see :func:`calbench.adaptation._effects.effects`."""
        measured = {name: side.raw.measured for name, side in self.sides.items()}
        return effects(measured, contrasts, metrics, level=self.level)

    def recovery(self, metric: str, *, reference: str, quantized: str, restored: str) -> Recovery:
        """Return how much of quantization's cost an arm gives back; a collapsed arm has nothing to give.

        See :func:`calbench.adaptation._recovery.recovered_fraction`.
        """
        found = recovered_fraction(
            *(self.measured(arm, metric) for arm in (reference, quantized, restored)), level=self.level
        )
        for arm in (reference, restored):
            if found.fraction is not None and arm in self.collapsed:
                return Recovery(
                    metric, found.cost, found.gain, None, f"{arm} has collapsed: {self.collapsed[arm]}"
                )
        return found

    def decide(
        self,
        metric: str,
        *,
        candidate: str,
        reference: str,
        margin: float = 0.0,
        calibrator: str | None = None,
    ) -> GateDecision:
        """Gate one arm against another; see :func:`calbench.statistics.compare`.

        The decision knows nothing of collapse: read :attr:`collapsed` first, as the suites' gates do.
        """
        pair = (self.measured(arm, metric, calibrator) for arm in (candidate, reference))
        return decide(*pair, margin=margin, level=self.level)
