"""Metrics by id: what each one is, and the door that built-in and third-party ones come through."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Concatenate, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.metrics._absolute_sums import AbsoluteSums
from calbench.metrics._function import MetricFunction, P
from calbench.metrics._outcomes import Outcomes, check_sample_weight
from calbench.metrics._weighted import Statistic, point
from calbench.records import Float64, Predictions, TopLabelPredictions
from calbench.registry import Argument, Registry, Spec, arguments_of, bind

Direction = Literal["lower", "higher", "none"]
Needs = Literal["probs", "top-label", "distribution"]

CONFIDENCE = "probability of the predicted class (the first of ties), float64"

# (outcomes, **options of the function) -> the metric as a function of the items' weights
Vectorized = Callable[..., Statistic]
# (outcomes, **options of the function) -> the metric as sums of absolute values
ToAbsoluteSums = Callable[..., AbsoluteSums | None]


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
        ``"probs"``: the probability of every class; ``"top-label"``: the top one's is enough;
        ``"distribution"``: also how many people gave each class.
    vectorized
        Evaluates it for many weightings at once; without it, resamples call ``function``.
    options
        What the function is called with, besides its defaults.
    definition
        What the options do not say about how it is computed, for the fingerprint.
    biased
        Whether noise biases it upwards, as it does all calibration errors: gates then allow for it.
    to_absolute_sums
        The metric as sums of absolute values, for a sharper allowance; None for options that make it none.
    rate
        Whether it is a mean of 0 and 1 over all items: gates then allow for what was too rare to be seen.
    shared_groups
        Whether a reference is measured in the groups of the candidate that it is compared with.
    """

    id: str
    function: Callable[..., float]
    direction: Direction
    range: tuple[float, float]
    needs: Needs
    vectorized: Vectorized | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    definition: Mapping[str, str] = field(default_factory=dict, hash=False)
    biased: bool = False
    to_absolute_sums: ToAbsoluteSums | None = None
    rate: bool = False
    shared_groups: bool = False

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
        defaults = {name: a.default for name, a in _options(self.function).items()}
        return {"metric": self.id.partition("[")[0], **defaults, **self.options, **self.definition}

    def weighted(self, outcomes: Outcomes) -> Statistic:
        """Return the metric of these outcomes as a function of their items' weights.

        Raises
        ------
        InputError
            The metric needs the probability of every class and the outcomes lack it.
        """
        if self.needs == "distribution" and outcomes.has_class_vector:
            _ = outcomes.shares  # or it says what is missing
        if self.needs != "top-label" and not outcomes.has_class_vector:
            raise InputError(
                f"the metric {self.id!r} needs the probability of every class, but this record keeps"
                " only the top answer's confidence; use a Predictions record, or a metric that needs"
                " only the top label, such as 'ece' or 'brier_toplabel'"
            )
        if self.vectorized is not None:
            return self.vectorized(outcomes, **self.options)
        return _Called(functools.partial(self.function, **self.options), outcomes.probs, outcomes.labels)

    def absolute_sums(self, outcomes: Outcomes) -> AbsoluteSums | None:
        """Return the metric as sums of absolute values, if it is one."""
        return None if self.to_absolute_sums is None else self.to_absolute_sums(outcomes, **self.options)


@dataclass(frozen=True, eq=False)
class _Called:
    """A metric known only by its function: one call per weighting."""

    function: Callable[..., float]
    answers: npt.NDArray[Any]
    truth: npt.NDArray[Any]

    def __call__(self, weights: Float64) -> Float64:
        return np.array([self.function(self.answers, self.truth, sample_weight=w) for w in weights.T])


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
    vectorized: Vectorized | None = None,
    needs: Needs = "probs",
    definition: Mapping[str, str] = MappingProxyType({}),
    biased: bool = False,
    absolute_sums: ToAbsoluteSums | None = None,
    rate: bool = False,
) -> Callable[[F], F]:
    """Register a function ``(probs, labels, *, ..., sample_weight=None) -> float`` as a metric.

    With ``needs="top-label"`` it is a function ``(confidences, correct, *, ..., sample_weight=None)`` of
    the top answer's probability ``(n,)`` and whether it was right. The function itself is returned
    unchanged. Its keyword-only parameters are the options that an id such as ``ece[n_bins=20]`` can
    set; their annotations, or their defaults, say of which type they are.

    Parameters
    ----------
    name
        The id.
    direction, range, needs, definition, biased, rate
        See :class:`Metric`.
    vectorized
        ``(outcomes, **options)`` to the metric as a function of many weightings. See :func:`formula`.
    absolute_sums
        ``(outcomes, **options)`` to the metric as sums of absolute values, if it is one.

    Raises
    ------
    InputError
        The function takes no ``sample_weight``, so it could not be resampled.
    DuplicateNameError
        Something else already has the name.

    Examples
    --------
    >>> from calbench.metrics import get, metric
    >>> @metric("demo-error", range=(0, 1))
    ... def demo_error(probs, labels, *, sample_weight=None):
    ...     wrong = probs.argmax(axis=1) != labels
    ...     return float(np.average(wrong, weights=sample_weight))
    >>> get("demo-error")(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    0.5
    >>> @metric("demo-doubt", range=(0, 1), needs="top-label")
    ... def demo_doubt(confidences, correct, *, sample_weight=None):
    ...     return float(np.average(1 - confidences, weights=sample_weight))
    >>> round(get("demo-doubt")([[0.9, 0.1], [0.2, 0.8]], [0, 0]), 12)
    0.15
    """

    def decorate(function: F) -> F:
        if "sample_weight" not in inspect.signature(function).parameters:
            raise InputError(
                f"the metric {name!r} has no parameter sample_weight, so it cannot be resampled;"
                " add sample_weight=None"
            )
        top_label = needs == "top-label"

        def of_calls(outcomes: Outcomes, **options: Any) -> Statistic:
            called = functools.partial(function, **options)
            return _Called(called, outcomes.confidences, outcomes.correct)

        component = Metric(
            name,
            _of_confidences(function) if top_label else function,
            direction,
            range,
            needs,
            vectorized or (of_calls if top_label else None),
            definition=definition,
            biased=biased,
            to_absolute_sums=absolute_sums,
            rate=rate,
        )
        return _registered(component, function)

    return decorate


def _registered(component: Metric, function: F) -> F:
    registry.register(component.id)(component)
    setattr(function, _ATTRIBUTE, component)
    return function


def _of_confidences(function: Callable[..., float]) -> Callable[..., float]:
    """From a function of confidences and correctness, one of probabilities and labels."""

    @functools.wraps(function)
    def public(probs: npt.ArrayLike, labels: npt.ArrayLike, **options: Any) -> float:
        outcomes = Outcomes.from_probs(probs, labels)
        return function(outcomes.confidences, outcomes.correct, **options)

    return public


def formula(  # noqa: PLR0913 (all but the name have defaults)
    name: str,
    *,
    direction: Direction = "lower",
    range: tuple[float, float] = (-np.inf, np.inf),  # noqa: A002 (the field's word)
    needs: Needs = "top-label",
    definition: Mapping[str, str] = MappingProxyType({}),
    biased: bool = False,
    absolute_sums: ToAbsoluteSums | None = None,
    rate: bool = False,
    shared_groups: bool = False,
) -> Callable[[Callable[Concatenate[Outcomes, P], Statistic]], MetricFunction[P]]:
    """Register a formula ``(outcomes, *, ...) -> statistic``, and return the metric that it makes.

    That is a function ``(probs, labels, *, ..., sample_weight=None) -> float`` with the formula's name,
    docstring and options: it checks the arrays. Parameters are those of :func:`metric`.

    Examples
    --------
    >>> from calbench.metrics import Outcomes, formula, mean_of
    >>> @formula("demo-sureness", range=(0, 1))
    ... def sureness(outcomes: Outcomes):
    ...     return mean_of(outcomes.confidences)
    >>> round(sureness([[0.9, 0.1], [0.2, 0.8]], [0, 0]), 12)
    0.85
    """

    def decorate(made: Callable[Concatenate[Outcomes, P], Statistic]) -> MetricFunction[P]:
        vectorized: Vectorized = made

        @functools.wraps(made)
        def public(
            probs: npt.ArrayLike,
            labels: npt.ArrayLike,
            *,
            sample_weight: npt.ArrayLike | None = None,
            **options: Any,
        ) -> float:
            read = Outcomes.from_distribution if needs == "distribution" else Outcomes.from_probs
            outcomes = read(probs, labels)
            return point(vectorized(outcomes, **options), outcomes, sample_weight)

        # Both are found by name, so that a metric can be pickled.
        made.__qualname__ += ".formula"
        public.formula = made  # type: ignore[attr-defined]
        given = inspect.signature(public, follow_wrapped=False).parameters
        own = list(inspect.signature(made).parameters.values())[1:]
        public.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [given["probs"], given["labels"], *own, given["sample_weight"]], return_annotation="float"
        )
        component = Metric(
            name,
            public,
            direction,
            range,
            needs,
            vectorized,
            definition=definition,
            biased=biased,
            to_absolute_sums=absolute_sums,
            rate=rate,
            shared_groups=shared_groups,
        )
        return cast("MetricFunction[P]", _registered(component, public))

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
    canonical, options = bind(spec, _options(found.function))
    given = {key: options[key] for key, _ in spec.arguments}
    if given and found.vectorized is not None:
        found.vectorized(_PROBE, **given)  # refuses a value out of its range
    return replace(found, id=canonical, options=given) if given else found


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


@functools.cache  # every value of every cell asks
def _options(function: Callable[..., float]) -> dict[str, Argument]:
    found = arguments_of(function, skip=("sample_weight", "probs", "labels", "confidences", "correct"))
    return {
        name: argument for name, argument in found.items() if argument.default is not inspect.Parameter.empty
    }


_PROBE = Outcomes.from_distribution([[0.5, 0.5], [0.25, 0.75]], [0, 1])
