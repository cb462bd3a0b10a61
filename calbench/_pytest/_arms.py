"""What ``calbench.arms()`` gives a test: arms of one cell, on which it states what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from rich.console import RenderableType

from calbench._pytest._judge import reason_for
from calbench.adaptation import CONTRASTS, ArmsResult
from calbench.errors import CalbenchError
from calbench.registry import unknown
from calbench.report import Row, arms_markdown, arms_terminal, write_json
from calbench.runs import Cell
from calbench.statistics import Estimate

NOTHING: Mapping[str, str] = MappingProxyType({})


class ArmsUnderTest:
    """Arms on which gates can be required.

    Attributes
    ----------
    result
        The numbers, a :class:`calbench.adaptation.ArmsResult`.
    """

    def __init__(
        self,
        result: ArmsResult,
        cell: Cell,
        *,
        test: str,
        row: Row,
        inconclusive_fails: bool,
    ) -> None:
        self.result = result
        self._cell, self._test, self._row = cell, test, row
        self._inconclusive_fails = inconclusive_fails

    def require(
        self,
        metric: str = "ece",
        *,
        arm: str,
        against: str,
        max_increase: float,
        calibrator: str | None = None,
        accepted: Mapping[str, str] = NOTHING,
    ) -> ArmsUnderTest:
        """Fail the test if an arm is shown to be worse than another by more than a margin.

        A collapsed arm fails whatever its metric says: the calibration of a model that knows nothing
        is no achievement.

        Parameters
        ----------
        metric
            Id of what is compared; for ``"accuracy"`` worse is lower.
        arm, against
            Ids of the two arms.
        max_increase
            How much worse is accepted, in the metric's unit.
        calibrator
            Compare both with this calibrator, fitted on each arm's own calibration items.
        accepted
            Failures that were looked at and accepted: a cell's id, or a glob of ids, and the reason.
        """
        decision = self._checked(
            lambda: self.result.decide(
                metric, candidate=arm, reference=against, margin=max_increase, calibrator=calibrator
            )
        )
        estimate = Estimate(decision.delta, decision.interval, decision.level)
        collapse = self.result.collapsed.get(arm)
        outcome = "collapsed" if collapse else decision.outcome
        text = f"{metric} of {arm} against {against}: {_spelled(estimate)}, margin {max_increase:+g}"
        if collapse:
            text = f"{arm} has collapsed: {collapse}\n  {text}"
        return self._settle(outcome, metric, f"{arm} - {against}", estimate, text, accepted)

    def require_effect(
        self,
        contrast: str,
        metric: str = "ece",
        *,
        max_increase: float,
        accepted: Mapping[str, str] = NOTHING,
    ) -> ArmsUnderTest:
        """Fail the test if a contrast, such as ``"tuning × quantization"``, is shown to exceed a margin.

        Parameters
        ----------
        contrast
            Id of one of :data:`calbench.adaptation._variants.CONTRASTS`.
        metric
            Of which less is better.
        max_increase, accepted
            See :meth:`require`.
        """
        by_id = {each.id: each for each in CONTRASTS}
        if contrast not in by_id:
            pytest.fail(f"{self._cell.id}: {unknown('contrast', contrast, by_id)}", pytrace=False)
        (effect,) = self._checked(lambda: self.result.effects_of([by_id[contrast]], [metric]))
        if effect.estimate is None:
            pytest.fail(
                f"{self._cell.id}: {metric} is not defined for every arm of {contrast!r}", pytrace=False
            )
        low, high = effect.estimate.interval
        outcome = "pass" if high <= max_increase else "fail" if low > max_increase else "inconclusive"
        text = f"{contrast} on {metric}: {_spelled(effect.estimate)}, margin {max_increase:+g}"
        return self._settle(outcome, metric, contrast, effect.estimate, text, accepted)

    def require_recovered(
        self,
        metric: str = "ece",
        *,
        reference: str,
        quantized: str,
        restored: str,
        min_fraction: float,
        accepted: Mapping[str, str] = NOTHING,
    ) -> ArmsUnderTest:
        """Fail the test if an arm is shown to give back less of quantization's cost than a share.

        Where quantization is not shown to have cost anything the fraction is refused, and the gate is
        inconclusive.
        """
        found = self._checked(
            lambda: self.result.recovery(metric, reference=reference, quantized=quantized, restored=restored)
        )
        what = f"{restored} recovers {quantized}"
        if found.fraction is None:
            return self._settle(
                "inconclusive", metric, what, found.cost, f"{what}: {found.refused}", accepted
            )
        low, high = found.fraction.interval
        outcome = "pass" if low >= min_fraction else "fail" if high < min_fraction else "inconclusive"
        text = f"{what}: {_spelled(found.fraction)} of the lost {metric}, at least {min_fraction:g} wanted"
        return self._settle(outcome, metric, what, found.fraction, text, accepted)

    def _settle(
        self,
        outcome: str,
        metric: str,
        what: str,
        estimate: Estimate,
        text: str,
        accepted: Mapping[str, str],
    ) -> ArmsUnderTest:
        """Write the gate into the results, and fail the test if it has to."""
        fails = outcome in ("fail", "collapsed") or (outcome == "inconclusive" and self._inconclusive_fails)
        reason = reason_for(self._cell.id, accepted) if fails else None
        self._row["gates"].append(
            {
                "test": self._test,
                "metric": metric,
                "what": what,
                "outcome": outcome,
                "delta": estimate.value,
                "interval": list(estimate.interval),
                "text": text,
                "accepted": reason,
            }
        )
        if fails and not reason:
            m = self.result
            lines = [
                f"{outcome}: {text}",
                f"  model {m.model}, task {m.task}, quantizer {m.quantizer}, seed {m.seed}",
                *(f"  record of {name}: {record.key}" for name, record in m.records.items()),
            ]
            pytest.fail("\n".join(lines), pytrace=False)
        return self

    def _checked(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except CalbenchError as error:
            problem = str(error)
        pytest.fail(f"{self._cell.id}: {problem}", pytrace=False)


def _spelled(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:+.4f}, {estimate.level:.0%} interval [{low:+.4f}, {high:+.4f}]"


def summarize_arms(
    reporter: pytest.TerminalReporter,
    rows: Sequence[Row],
    *,
    rendered: Callable[[RenderableType], str],
    folder: Path | None,
) -> None:
    """Print the tables of all arms and what the gates decided; write the report if one is wanted."""
    reporter.section("calbench arms")
    reporter.write(rendered(arms_terminal(rows)))
    for row in rows:
        reporter.write_line(f"gates of {row['model']} on {row['task']}:")
        for gate in row["gates"]:
            accepted = f" (accepted: {gate['accepted']})" if gate["accepted"] else ""
            reporter.write_line(f"  {gate['outcome']}{accepted}: {gate['text']}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "arms.md").write_text(arms_markdown(rows), encoding="utf-8")
        write_json({"arms": list(rows)}, folder / "arms.json")
        reporter.write_line(f"report: {folder}/arms.md and {folder}/arms.json")
