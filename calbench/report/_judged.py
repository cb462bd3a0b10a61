"""Every gate of a run beside what it is about, and each said in a line: what a reader is told first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calbench.escaping import printable
from calbench.gates import IN_REACH, OUT_OF_ITEMS, REPLAY, Gate
from calbench.report._format import ComparisonRow, Row, VariantsRow
from calbench.statistics import Outcome

_PAIRS = (("transferred", "calibrated_reference"), ("candidate", "reference"), ("transferred", "baseline"))
_ALONE = ("at_most", "at_least")
_HIGHER_IS_BETTER = ("at_least", "max_decrease", "max_relative_decrease")
# Nobody asks a million items; near its limit a difference would need more than there are atoms.
MAX_ITEMS = 1_000_000


@dataclass(frozen=True)
class Judged:
    """One gate.

    Attributes
    ----------
    subject
        The cell's id, the model and task of variants, or the name of a comparison of the user's own.
    quantizer
        Of the candidate; ``""`` for the user's own arrays and records.
    gate
        What was asked and decided, as plain JSON.
    """

    subject: str
    quantizer: str
    gate: Gate

    @property
    def outcome(self) -> Outcome:
        """``"pass"``, ``"fail"`` or ``"inconclusive"``."""
        return self.gate["outcome"]

    @property
    def is_accepted(self) -> bool:
        """Whether a suite says why this gate need not hold."""
        return bool(self.gate["accepted"])

    @property
    def limit(self) -> float:
        """The number that decides: the largest value that is still allowed, or the smallest one."""
        margin = self.gate["margin"]
        return -margin if self.gate["limit"] in ("max_decrease", "max_relative_decrease") else margin

    def said(self) -> str:
        """Return who it is about and the number beside its limit, in ASCII but for names.

        >>> gate = {"metric": "ece", "limit": "max_increase", "margin": 0.02, "outcome": "fail",
        ...         "delta": 0.461, "interval": [0.41, 0.51], "relative": False,
        ...         "candidate": "transferred", "reference": "calibrated_reference"}
        >>> Judged("bert-tweets-bnb-nf4-temperature", "bnb-nf4", gate).said()
        'bert-tweets-bnb-nf4-temperature: ece +0.461 > +0.02'
        """
        return f"{printable(self.subject)}: {self.figure()}"

    def figure(self) -> str:
        """Return what was measured and, in ASCII, how it lies to what was allowed."""
        if self.outcome == "inconclusive":
            return self.within()
        value, limit = self.number(self.gate["delta"]), self.number(self.limit)
        is_above = (self.outcome == "fail") != (self.gate["limit"] in _HIGHER_IS_BETTER)
        return f"{self.what()} {value} {'>' if is_above else '<'} {limit}"

    def within(self) -> str:
        """Return what was measured with its interval, and what was allowed."""
        value, limit = self.number(self.gate["delta"]), self.number(self.limit)
        kept = self.gate.get("sampling", "") if self.gate["limit"] in _ALONE else ""
        return f"{self.what()} {value} in {self.interval()}, limit {limit}{kept}"

    def size(self) -> str:
        """Return the number of items, and how many of them count or how they lie."""
        return f"{self.gate['n']:,}{self.gate.get('sampling', '')}"

    def what(self) -> str:
        """Return the metric, and the arms where they are not the usual two."""
        candidate, reference = self.gate["candidate"], self.gate["reference"]
        metric = self.gate["metric"]
        if self.gate["limit"] in _ALONE:
            return metric if candidate in ("transferred", "candidate") else f"{metric} of {candidate}"
        if (candidate, reference) in _PAIRS[:2]:
            return metric
        if not reference:  # a contrast of several arms
            return f"{metric} of {candidate}"
        of = "" if candidate == "transferred" else f" of {candidate}"
        return f"{metric}{of} against {reference}"

    def interval(self) -> str:
        """Return the interval of what was measured."""
        low, high = (self.number(bound) for bound in self.gate["interval"])
        return f"[{low}, {high}]"

    def number(self, value: float) -> str:
        """Return a value as this gate's numbers are written: signed if a change, in percent if relative."""
        sign = "" if self.gate["limit"] in _ALONE else "+"
        if self.gate["relative"]:
            return f"{100 * value:{sign}.3g}%"
        return f"{value:{sign}.3g}"

    def remedy(self) -> str:
        """Return what would decide an inconclusive gate."""
        needed = self.gate["items_needed"]
        if not needed:
            return "more items, or another limit"
        if needed > MAX_ITEMS:
            return "no number of items in reach; choose another limit"
        stopped = self.gate["stopped"]
        if stopped.startswith(OUT_OF_ITEMS):
            if needed > IN_REACH * self.gate["n"]:
                return f"too near the margin; about {needed:,} would decide it, or another limit"
            return f"{OUT_OF_ITEMS}; about {needed:,} would decide it"
        more = " (--calbench-items=all asks more)" if "--calbench-items" in stopped else ""
        if stopped.endswith(REPLAY):
            more = " (they are not in the store, and a replay asks for none)"
        return f"about {needed:,} items would decide it{more}"


def judged(
    rows: Iterable[Row], *, variants: Iterable[VariantsRow] = (), comparisons: Iterable[ComparisonRow] = ()
) -> list[Judged]:
    """Return every gate of cells, of arms of tuning and of the user's own comparisons."""
    found = [Judged(row["cell"], row["quantizer"], gate) for row in rows for gate in row["gates"]]
    for row in variants:
        subject = f"{row['model']}-{row['task']}-{row['quantizer']}"
        found += [Judged(subject, row["quantizer"], gate) for gate in row["gates"]]
    return found + [Judged(each["name"], "", gate) for each in comparisons for gate in each["gates"]]


def failed(gates: Iterable[Judged]) -> list[Judged]:
    """Return what failed and was not accepted, the furthest beyond its limit first."""
    found = [each for each in gates if each.outcome == "fail" and not each.is_accepted]
    return sorted(found, key=lambda each: -_excess(each))


def undecided(gates: Iterable[Judged]) -> list[Judged]:
    """Return what is inconclusive and was not accepted, the nearest to a decision first."""
    found = [each for each in gates if each.outcome == "inconclusive" and not each.is_accepted]
    return sorted(found, key=lambda each: each.gate["items_needed"] or math.inf)


def by_quantizer(gates: Sequence[Judged]) -> dict[str, Counter[str]]:
    """Return how many gates of each quantizer passed, failed and stayed open, the worst first."""
    counts: dict[str, Counter[str]] = {}
    for each in gates:
        counts.setdefault(each.quantizer, Counter())[each.outcome] += 1
    return dict(sorted(counts.items(), key=lambda c: (-c[1]["fail"], -c[1]["inconclusive"])))


def _excess(each: Judged) -> float:
    return abs(each.gate["delta"] - each.limit)
