"""Variants on the same items: what each is worth, what tells them apart, and which have collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from calbench import calibrators
from calbench.adaptation._collapse import Collapse, collapse_of
from calbench.adaptation._effects import Effect, effects
from calbench.adaptation._variants import Variant, contrasts_of
from calbench.gates import Arm, Comparison, FittedSplit, NamedArms, no_arm
from calbench.store import StoredPredictions


@dataclass(frozen=True, eq=False)
class VariantArms(NamedArms):
    """Variants as arms: as they are, or as ``"qlora+temperature"`` with a calibrator of their own."""

    collapsed: Mapping[str, Collapse] = field(default_factory=dict, repr=False)

    def flaw(self, name: str) -> str:
        """Return that a variant has collapsed: the calibration of what knows nothing is no achievement."""
        variant = name.partition("+")[0]
        return f"{variant} has collapsed: {self.collapsed[variant]}" if variant in self.collapsed else ""


@dataclass(frozen=True, eq=False)
class VariantStudy:
    """Several variants of one model and task, measured on the same test items with the same resamples.

    Parameters
    ----------
    model, task, quantizer, seed
        What was compared.
    variants
        In the order of tables.
    splits
        Each variant's calibration and test records.
    records
        Each variant's stored record.
    training
        What each adapter's training saw; empty for variants without one.
    n_training
        Items that every adapter learned from.
    level
        Of all intervals.
    """

    model: str
    task: str
    quantizer: str
    seed: int
    variants: tuple[Variant, ...]
    splits: Mapping[str, FittedSplit] = field(repr=False)
    records: Mapping[str, StoredPredictions] = field(repr=False)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    n_training: int = 0
    level: float = 0.95

    @cached_property
    def comparison(self) -> Comparison:
        """The variants as arms, by their ids; with a calibrator as ``"qlora+temperature"``."""
        names = tuple(variant.id for variant in self.variants)
        arms = VariantArms(names, self._arm, self.collapsed)
        contrasts = {contrast.id: contrast for contrast in contrasts_of(names)}
        first = next(iter(self.splits.values()))
        return Comparison(
            arms,
            names[0],
            names[-1],
            contrasts,
            self.level,
            first.n_calibration,
            len(first.test),
            first.metrics,
        )

    @cached_property
    def collapsed(self) -> dict[str, Collapse]:
        """The variants that are not shown to beat the commonest answer."""
        found = ((name, collapse_of(split.raw, level=self.level)) for name, split in self.splits.items())
        return {name: collapse for name, collapse in found if collapse is not None}

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """Every contrast that the variants can answer, for every metric, corrected together."""
        return effects(self.comparison, contrasts_of(self.splits))

    def _arm(self, name: str) -> Arm:
        variant, _, calibrator = name.partition("+")
        if variant not in self.splits:
            raise no_arm(variant, self.splits)
        split = self.splits[variant]
        return split.calibrated(calibrator, calibrators.get(calibrator)) if calibrator else split.raw
