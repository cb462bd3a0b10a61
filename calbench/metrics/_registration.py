"""Metrics by id: what each one is, and the door that built-in and third-party ones come through."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.metrics._absolute_sums import AbsoluteSums
from calbench.metrics._outcomes import Outcomes, check_sample_weight
from calbench.metrics._weighted import Statistic, point
from calbench.records import Float64, Predictions, TopLabelPredictions
from calbench.registry import Registry, Spec, unknown

Direction = Literal["lower", "higher", "none"]
Needs = Literal["probs", "top-label"]

CONFIDENCE = "probability of the predicted class (the first of ties), float64"


# (items, **options of the function) -> the metric as a function of the items' weights
Prepare = Callable[..., Statistic]
# (items, **options of the function) -> the metric as sums of absolute values
Absolute = Callable[..., AbsoluteSums | None]


@dataclass(frozen=True)
class Metric:
    """A registered metric: call it like its function, ``metric(probs, labels, *, sample_weight)``.

    Attributes
    ----------
    id
        Short name, with the options that were asked for: ``ece[n_bins=20]``.
    function
        ``(probs, labels, *, ..., sample_weight=None) -> float``.
    direction
        Which way is better; ``"none"`` where neither is, such as a signed gap.
    range
        Smallest and largest value possible.
    needs
        ``"probs"``: the probability of every class; ``"top-label"``: the top one's is enough.
    prepare
        How to evaluate it for many weightings at once; without it, resamples call ``function``.
    options
        What the function is called with, besides its defaults.
    definition
        What the options do not say about how it is computed, for the fingerprint.
    biased
        Whether noise biases it upwards, as it does all calibration errors: gates then allow for it.
    absolute
        The metric as sums of absolute values, for a sharper allowance; None for options that make
        it something else.
    rate
        Whether it is a mean of 0 and 1 over all items: gates then allow for what is too rare to have
        been seen.
    """

    id: str
    function: Callable[..., float]
    direction: Direction
    range: tuple[float, float]
    needs: Needs
    prepare: Prepare | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    definition: Mapping[str, str] = field(default_factory=dict, hash=False)
    biased: bool = False
    absolute: Absolute | None = None
    rate: bool = False

    def __post_init__(self) -> None:
        # Listings and the registry's check for two owners of an id ask where a component is from.
        object.__setattr__(self, "__module__", self.function.__module__)
        object.__setattr__(self, "__qualname__", self.function.__qualname__)

    def __call__(
        self,
        probs: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        sample_weight: npt.ArrayLike | None = None,
        **options: Any,
    ) -> float:
        """Return the metric's value; options given here come before those of the id."""
        return self.function(probs, labels, sample_weight=sample_weight, **{**self.options, **options})

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that its value depends on besides the data: stored beside every number."""
        name = Spec.parse(self.id).name
        return {"metric": name, **_defaults(self.function), **self.options, **self.definition}

    def weighted(self, items: Outcomes) -> Statistic:
        """Return the metric of these items as a function of their weights.

        Raises
        ------
        InputError
            The metric needs the probability of every class and the items lack it.
        """
        if self.needs == "probs" and not items.has_class_vector:
            raise InputError(
                f"the metric {self.id!r} needs the probability of every class, but this record keeps"
                " only the top answer's confidence; use a Predictions record, or a metric that needs"
                " only the top label, such as 'ece' or 'brier_toplabel'"
            )
        if self.prepare is not None:
            return self.prepare(items, **self.options)
        return _Called(self, items)

    def absolute_sums(self, items: Outcomes) -> AbsoluteSums | None:
        """Return the metric as sums of absolute values, if it is one."""
        return None if self.absolute is None else self.absolute(items, **self.options)


@dataclass(frozen=True, eq=False)
class _Called:
    """A metric known only by its function: one call per weighting."""

    metric: Metric
    items: Outcomes

    def __call__(self, weights: Float64) -> Float64:
        probs, labels = self.items.probs, self.items.labels
        return np.array([self.metric(probs, labels, sample_weight=column) for column in weights.T])


registry: Registry[Metric] = Registry(
    "metric",
    "calbench.metrics",
    builtin_modules=("calbench.metrics",),
)

F = TypeVar("F", bound=Callable[..., float])
_ATTRIBUTE = "__calbench_metric__"


def metric(  # noqa: PLR0913 (all but the name have defaults)
    name: str,
    *,
    direction: Direction = "lower",
    range: tuple[float, float] = (-np.inf, np.inf),  # noqa: A002 (the field's word)
    prepare: Prepare | None = None,
    needs: Needs = "probs",
    definition: Mapping[str, str] = MappingProxyType({}),
    biased: bool = False,
    absolute: Absolute | None = None,
    rate: bool = False,
) -> Callable[[F], F]:
    """Register a function ``(probs, labels, *, ..., sample_weight=None) -> float`` as a metric.

    The function itself is returned unchanged. Its keyword-only parameters are the options that an
    id such as ``ece[n_bins=20]`` can set; their defaults say of which type they are.

    Parameters
    ----------
    name
        The id.
    direction, range, prepare, needs, definition, biased, absolute, rate
        See :class:`Metric`. ``needs="top-label"`` requires ``prepare``.

    Raises
    ------
    InputError
        The function takes no ``sample_weight``, so it could not be resampled.
    DuplicateNameError
        Something else already has the name.

    Examples
    --------
    >>> from calbench.metrics import get, metric, registry
    >>> @metric("demo-error", range=(0, 1))
    ... def demo_error(probs, labels, *, sample_weight=None):
    ...     wrong = probs.argmax(axis=1) != labels
    ...     return float(np.average(wrong, weights=sample_weight))
    >>> get("demo-error")(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    0.5
    """
    if needs == "top-label" and prepare is None:
        raise InputError(f"the metric {name!r} needs only the top label: pass prepare=, which computes it")

    def decorate(function: F) -> F:
        if "sample_weight" not in inspect.signature(function).parameters:
            raise InputError(
                f"the metric {name!r} has no parameter sample_weight, so it cannot be resampled;"
                " add sample_weight=None"
            )
        component = Metric(
            name,
            function,
            direction,
            range,
            needs,
            prepare,
            definition=definition,
            biased=biased,
            absolute=absolute,
            rate=rate,
        )
        registry.register(name)(component)
        setattr(function, _ATTRIBUTE, component)
        return function

    return decorate


def names() -> tuple[str, ...]:
    """Ids of all metrics of one model's answers, sorted."""
    return registry.names()


def get(name: str | Metric) -> Metric:
    """Return the metric with this id, which may set options: ``ece[n_bins=20]``.

    Raises
    ------
    UnknownNameError
        No metric has the name; the message suggests the nearest ones.
    InputError
        The metric has no such option, or the value cannot be read.
    """
    if isinstance(name, Metric):
        return name
    spec = Spec.parse(name)
    found: object = registry.get(spec.name)
    found = getattr(found, _ATTRIBUTE, found)
    if not isinstance(found, Metric):
        raise InputError(f"the metric {spec.name!r} is no metric: decorate it with @calbench.metric(...)")
    if not spec.arguments:
        return found
    defaults = _defaults(found.function)
    options = {key: _read(spec, key, text, defaults) for key, text in spec.arguments}
    return replace(found, id=spec.id, options=options)


def evaluate(
    metric: str | Metric,
    record: Predictions | TopLabelPredictions | Outcomes,
    *,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Return the metric's value on a record, whatever the order of its rows.

    ``sample_weight (n,)`` is in the order of the record's rows.

    Raises
    ------
    InputError
        The metric needs class vectors and the record keeps only the top answer, or the weights
        cannot be used.

    Examples
    --------
    >>> record = TopLabelPredictions(["a", "b"], [0.9, 0.7], [True, False])
    >>> round(evaluate("ece", record), 12)
    0.4
    """
    if isinstance(record, Outcomes):
        items = record
    else:
        items = Outcomes.from_record(record)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, len(items))[np.argsort(record.item_ids)]
    return point(get(metric).weighted(items), items, sample_weight)


def _defaults(function: Callable[..., float]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and p.name != "sample_weight" and p.default is not p.empty
    }


def _read(spec: Spec, key: str, text: str, defaults: Mapping[str, Any]) -> Any:
    if key not in defaults:
        raise InputError(f"in {spec.id!r}: {unknown('option of ' + spec.name, key, defaults)}")
    default = defaults[key]
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if default is None:  # the built-in options without a default value are all thresholds
            return None if text.lower() == "none" else float(text)
    except (KeyError, ValueError):
        raise InputError(
            f"in {spec.id!r}: {key}={text} cannot be read as {type(default).__name__}; write it"
            f" like {key}={default}"
        ) from None
    return text
