"""Requirements as sentences: a metric, and how bad or how much worse it may be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from calbench.errors import InputError
from calbench.metrics import Metric, get
from calbench.statistics import Change, GateDecision

Kind = Literal["limit", "change", "relative change"]


@dataclass(frozen=True)
class Limits:
    """The limit that a sentence names: exactly one of these.

    Attributes
    ----------
    at_most, at_least
        The metric itself: a ceiling where lower is better, a floor where higher is.
    max_increase, max_decrease
        How much worse than what it is compared with, in the metric's unit.
    max_relative_increase, max_relative_decrease
        The same as a share of what it is compared with, 0.05 for 5%.
    """

    at_most: float | None = None
    at_least: float | None = None
    max_increase: float | None = None
    max_decrease: float | None = None
    max_relative_increase: float | None = None
    max_relative_decrease: float | None = None


_KINDS: dict[str, tuple[Kind, str]] = {
    "at_most": ("limit", "lower"),
    "at_least": ("limit", "higher"),
    "max_increase": ("change", "lower"),
    "max_decrease": ("change", "higher"),
    "max_relative_increase": ("relative change", "lower"),
    "max_relative_decrease": ("relative change", "higher"),
}


@dataclass(frozen=True)
class Requirement:
    """One metric and what may become of it.

    Attributes
    ----------
    metric
        What is measured.
    keyword
        The limit's name in the sentence, such as ``"max_increase"``.
    limit
        Its value.
    level
        Of the interval; None for the default.
    """

    metric: Metric
    keyword: str
    limit: float
    level: float | None = None

    @property
    def kind(self) -> Kind:
        """What is limited: the metric, its change, or its change as a share."""
        return _KINDS[self.keyword][0]

    @property
    def is_limit(self) -> bool:
        """Whether the metric itself is limited, so that there is nothing to compare with."""
        return self.kind == "limit"

    @property
    def relative(self) -> bool:
        """Whether the limit is a share of the reference's value."""
        return self.kind == "relative change"

    def judge(self, change: Change) -> GateDecision:
        """Return the decision for what was measured."""
        return change.judge(self.limit)

    def __str__(self) -> str:
        return f"{self.metric.id} {self.keyword}={self.limit:g}"


def requirements(metrics: Iterable[str], limits: Limits, *, level: float | None = None) -> list[Requirement]:
    """Read a sentence: one requirement for each metric.

    >>> [str(r) for r in requirements(("ece", "nll"), Limits(max_increase=0.02))]
    ['ece max_increase=0.02', 'nll max_increase=0.02']

    Raises
    ------
    InputError
        There is not exactly one limit, it is no number, or it faces the wrong way for a metric.
    UnknownNameError
        No metric has the id.
    """
    given = {name: value for name in _KINDS if (value := getattr(limits, name)) is not None}
    if len(given) != 1:
        raise InputError(
            f"give exactly one of {', '.join(_KINDS)}"
            + (f", not {' and '.join(given)} together; write a sentence for each" if given else "")
        )
    ((keyword, limit),) = given.items()
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise InputError(f"{keyword}={limit!r}; use a finite number")
    if level is not None and not 0 < level < 1:
        raise InputError(f"level={level}; use a share between 0 and 1, such as 0.95")
    found = [get(name) for name in metrics]
    for metric in found:
        _check_direction(metric, keyword)
    return [Requirement(metric, keyword, float(limit), level) for metric in found]


def _check_direction(metric: Metric, keyword: str) -> None:
    if metric.direction == "none":
        raise InputError(f"neither way is better for {metric.id!r}, so it cannot be required; choose 'ece'")
    kind, direction = _KINDS[keyword]
    if direction != metric.direction:
        right = next(k for k, v in _KINDS.items() if v == (kind, metric.direction))
        better = "lower" if metric.direction == "lower" else "higher"
        raise InputError(f"{metric.id} is better when it is {better}: write {right}= instead of {keyword}=")
