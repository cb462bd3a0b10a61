"""Requirements as sentences: a metric of which arm, and how bad or how much worse it may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from calbench.errors import InputError
from calbench.metrics import Metric, get

Kind = Literal["limit", "change", "relative change", "fraction"]


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
class Contrast:
    """A question to arms: a weighted sum of their metrics.

    Parameters
    ----------
    id
        Short name.
    weights
        By arm.
    question
        In words, for reports.
    """

    id: str
    weights: Mapping[str, float]
    question: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))


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
    of
        The arms whose metric, or difference, or weighted sum is limited.
    level
        Of the interval; None for the default.
    """

    metric: Metric
    keyword: str
    limit: float
    of: Contrast
    level: float | None = None

    @property
    def kind(self) -> Kind:
        """What is limited: the metric, its change, its change as a share, or a recovered fraction."""
        return "fraction" if self.keyword == "min_fraction" else _KINDS[self.keyword][0]

    @property
    def relative(self) -> bool:
        """Whether the limit is a share of the reference's value."""
        return self.kind == "relative change"

    @property
    def candidate(self) -> str:
        """The arm that is judged; of a named contrast, its name."""
        return self.of.id or next(iter(self.of.weights))

    @property
    def reference(self) -> str | None:
        """The arm that it is compared with; None where there is no one arm."""
        names = list(self.of.weights)
        return names[1] if not self.of.id and len(names) > 1 else None

    def __str__(self) -> str:
        return f"{self.metric.id} {self.keyword}={self.limit:g}"


def requirements(
    metrics: Iterable[str | Metric],
    limits: Limits,
    *,
    arm: str,
    against: str,
    contrast: Contrast | None = None,
    level: float | None = None,
) -> list[Requirement]:
    """Read a sentence: one requirement for each metric.

    >>> wanted = requirements(("ece", "nll"), Limits(max_increase=0.02), arm="b", against="a")
    >>> [str(r) for r in wanted]
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
    kind = _KINDS[keyword][0]
    if contrast is not None and kind != "change":
        raise InputError(f"a contrast is a difference: limit it with max_increase=, not {keyword}=")
    if contrast is None:
        contrast = Contrast("", {arm: 1.0} if kind == "limit" else {arm: 1.0, against: -1.0})
        if kind != "limit" and arm == against:
            raise InputError(f"{arm!r} would be compared with itself; name another arm in against=")
    found = [get(name) for name in metrics]
    for metric in found:
        _check_direction(metric, keyword)
    return [Requirement(metric, keyword, float(limit), contrast, level) for metric in found]


def _check_direction(metric: Metric, keyword: str) -> None:
    if metric.direction == "none":
        raise InputError(f"neither way is better for {metric.id!r}, so it cannot be required; choose 'ece'")
    kind, direction = _KINDS[keyword]
    if direction != metric.direction:
        right = next(k for k, v in _KINDS.items() if v == (kind, metric.direction))
        better = "lower" if metric.direction == "lower" else "higher"
        raise InputError(f"{metric.id} is better when it is {better}: write {right}= instead of {keyword}=")
