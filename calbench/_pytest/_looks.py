"""A cell's gates, judged on more of the task's items where they are undecided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from calbench._pytest._measurement import BASELINE, CellArms, MeasuredCell
from calbench.gates import OUT_OF_ITEMS, PROMISING, Comparison, Requirement
from calbench.pytest_options import flag_of
from calbench.runs import CellLook, ImportedRunner, Runner, cell_looks
from calbench.statistics import Look


@dataclass(frozen=True, eq=False)
class CellLooks:
    """The looks at one cell; see :class:`calbench.gates.Looks`.

    Parameters
    ----------
    arms
        Of the first items.
    taken
        The looks that this run may take.
    n_gates
        How many gates a failure must stand among; 1 without a correction.
    asks_anyway
        Also what later looks would hardly decide, since all items were asked for by hand.
    """

    arms: CellArms
    taken: tuple[CellLook, ...]
    n_gates: int
    asks_anyway: bool = False

    @classmethod
    def of(cls, cell: MeasuredCell, arms: CellArms, n_gates: int) -> CellLooks | None:
        """Return the looks at a cell; None of records from elsewhere, of which all items are there."""
        if isinstance(cell.runner, ImportedRunner):
            return None
        taken = cell_looks(cell.runner, cell.cell, cell.folds)
        return cls(arms, taken, n_gates, (cell.runner.most_items or 0) >= taken[-1].there)

    @cached_property
    def planned(self) -> tuple[Look, ...]:
        """See :class:`calbench.gates.Looks`."""
        return tuple(each.look for each in self.taken)

    def admits(self, requirement: Requirement) -> bool:
        """All but what is required against a baseline, which was accepted on the first items."""
        return BASELINE not in requirement.of.weights

    def at(self, number: int, first: Comparison) -> Comparison:
        """See :class:`calbench.gates.Looks`."""
        spans = self.taken[number].spans
        if not spans:
            return replace(first, looks=None)
        if number not in self._made:
            cell = replace(self.arms.cell, spans=spans)
            n_more = sum(end - start for start, end in spans)
            self._made[number] = replace(
                first,
                arms=replace(self.arms, cell=cell),
                n_test=first.n_test + n_more,
                looks=None,
            )
        return self._made[number]

    def records(self, number: int) -> tuple[tuple[str, str], ...]:
        """See :class:`calbench.gates.Looks`."""
        runner, cell = self.arms.cell.runner, self.arms.cell.cell
        assert isinstance(runner, Runner)  # noqa: S101 (see of)
        return runner.keys(cell, self.taken[number].spans)

    def goes_on(self, p_value: Callable[[], float], level: float) -> bool:
        """Whether a failure would not yet stand among all gates of the run."""
        return self.n_gates > 1 and p_value() * self.n_gates > 1 - level

    def why_give_up(self, number: int, power: float) -> str:
        """See :class:`calbench.gates.Looks`."""
        if self.asks_anyway or power >= PROMISING:
            return ""
        here, most = self.planned[number].n, self.planned[-1].n
        whose = f"{OUT_OF_ITEMS}: " if most >= self.taken[-1].there else ""
        return (
            f"{whose}stopped at {here:,} of {most:,} test items, as all of them would decide it in"
            f" {100 * power:.0f} of 100 cases; {flag_of('items')}=all asks them anyway"
        )

    def why_no_more(self) -> str:
        """See :class:`calbench.gates.Looks`."""
        there, most = self.taken[-1].there, self.planned[-1].n
        if most >= there:
            return f"{OUT_OF_ITEMS}: all that the task has were asked"
        return f"{there:,} test items are there: {flag_of('items')}=N or =all asks more of them"

    @cached_property
    def _made(self) -> dict[int, Comparison]:
        return {}
