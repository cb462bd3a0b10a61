"""From a registered class to a complete calibrator: typed arguments, and defaults for what it omits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from calbench.calibrators._inputs import check_fit, check_logits
from calbench.calibrators._interface import CalibrationContext, FittedCalibrator, Needs
from calbench.errors import InputError
from calbench.records import Float64, check_confidences, check_correct, check_probs


def check_component(name: str, component: Any) -> None:
    """Raise :class:`InputError` unless a class can be a calibrator."""
    fit = getattr(component, "fit", None)
    if not inspect.isclass(component) or not callable(fit):
        raise InputError(
            f"the calibrator {name!r} must be a class with fit(self, logits, labels), which may also take"
            " a keyword context"
        )


def build(component: Callable[..., Any], canonical: str, arguments: dict[str, Any]) -> Any:
    """Call a registered class; raises :class:`InputError` if it refuses the arguments of its id."""
    try:
        return component(**arguments)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot make the calibrator {canonical!r}: {error}") from error


@dataclass(frozen=True, eq=False)
class AdaptedCalibrator:
    """A third party's calibrator with its inputs checked and its gaps filled."""

    name: str
    method: Any

    @property
    def needs(self) -> Needs:
        """As declared, else ``"logits"``."""
        return cast("Needs", getattr(self.method, "needs", "logits"))

    @property
    def needs_epsilon(self) -> bool:
        """As declared, else False."""
        return bool(getattr(self.method, "needs_epsilon", False))

    @property
    def preserves_prediction(self) -> bool:
        """As declared, else False: nothing is promised."""
        return bool(getattr(self.method, "preserves_prediction", False))

    @property
    def cross_fits(self) -> bool:
        """As declared, else False."""
        return bool(getattr(self.method, "cross_fits", False))

    @property
    def source(self) -> str:
        """As declared, else empty."""
        return str(getattr(self.method, "source", ""))

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> FittedCalibrator:
        """Fit on read-only views of the checked data."""
        data = check_fit(logits, labels)
        parameters = inspect.signature(self.method.fit).parameters
        wanted = "context" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        more = {"context": context or CalibrationContext()} if wanted else {}
        fitted = self.method.fit(_read_only(data.logits), _read_only(data.labels), **more)
        if not callable(fitted):
            raise InputError(
                f"{self.name}.fit returned {type(fitted).__name__}, which cannot be called;"
                " return something callable, logits -> probs"
            )
        return adapted_fit(self.name, fitted)


@dataclass(frozen=True, eq=False)
class AdaptedConfidenceCalibrator(AdaptedCalibrator):
    """One that can also be fitted where only the top answer's confidence is known."""

    def fit_confidences(self, confidences: npt.ArrayLike, correct: npt.ArrayLike) -> FittedCalibrator:
        """Fit on read-only views of the checked data."""
        checked = check_confidences(confidences)
        truth = check_correct(correct, len(checked))
        fitted = self.method.fit_confidences(_read_only(checked), _read_only(truth))
        if not callable(getattr(fitted, "confidences", fitted)):
            raise InputError(
                f"{self.name}.fit_confidences returned {type(fitted).__name__}; return a function of"
                " confidences, or something with confidences(values)"
            )
        return AdaptedConfidenceFit(self.name, fitted)


@dataclass(frozen=True, eq=False)
class AdaptedFit:
    """What a third party's ``fit`` returned, with its output checked and its gaps filled."""

    name: str
    function: Any

    @property
    def n_parameters(self) -> int:
        """As declared, else 0."""
        return int(getattr(self.function, "n_parameters", 0))

    @property
    def size_bytes(self) -> int:
        """As declared, else 8 bytes a parameter."""
        return int(getattr(self.function, "size_bytes", 8 * self.n_parameters))

    @property
    def warnings(self) -> tuple[str, ...]:
        """As declared, else none."""
        return tuple(getattr(self.function, "warnings", ()))

    def __call__(self, logits: npt.ArrayLike) -> Float64:
        """Return the third party's probabilities; raises :class:`InputError` if they are none."""
        z = check_logits(logits)
        try:
            probs = check_probs(self.function(_read_only(z)))
        except InputError as error:
            raise InputError(f"the calibrator {self.name!r} returned no probabilities: {error}") from error
        if probs.shape != z.shape:
            raise InputError(
                f"the calibrator {self.name!r} returned shape {probs.shape} for logits of shape {z.shape}"
            )
        return probs

    def at(self, epsilon: float | None) -> FittedCalibrator:
        """Pass the precision on to a fit that has the hook ``at``."""
        hook = getattr(self.function, "at", None)
        return self if hook is None else type(self)(self.name, hook(epsilon))

    def to_dict(self) -> dict[str, Any]:
        """Return the third party's JSON under its name; raises :class:`InputError` if it has none."""
        hook = getattr(self.function, "to_dict", None)
        if hook is None:
            raise InputError(
                f"fits of the calibrator {self.name!r} cannot be saved; its author can add to_dict() to what"
                " fit returns, and a static from_dict(d) to the calibrator"
            )
        return {**hook(), "calibrator": self.name}


@dataclass(frozen=True, eq=False)
class AdaptedConfidenceFit(AdaptedFit):
    """A third party's map of confidences, with its output checked."""

    def confidences(self, confidences: npt.ArrayLike) -> Float64:
        """Return the third party's confidences ``(n,)``; raises :class:`InputError` if they are none."""
        given = check_confidences(confidences)
        try:
            mapped = check_confidences(
                getattr(self.function, "confidences", self.function)(_read_only(given))
            )
        except InputError as error:
            raise InputError(f"the calibrator {self.name!r} returned no confidences: {error}") from error
        if mapped.shape != given.shape:
            raise InputError(
                f"the calibrator {self.name!r} returned {mapped.shape} for confidences of shape {given.shape}"
            )
        return mapped


def adapted(name: str, method: Any) -> AdaptedCalibrator:
    """Return a third party's method as a calibrator, of confidences too if it has ``fit_confidences``."""
    takes_confidences = callable(getattr(method, "fit_confidences", None))
    return (AdaptedConfidenceCalibrator if takes_confidences else AdaptedCalibrator)(name, method)


def adapted_fit(name: str, function: Any) -> AdaptedFit:
    """Return what a third party fitted as a fit, of confidences too if it has ``confidences``."""
    maps_confidences = callable(getattr(function, "confidences", None))
    return (AdaptedConfidenceFit if maps_confidences else AdaptedFit)(name, function)


def restore(component: Any, d: dict[str, Any]) -> FittedCalibrator:
    """Call a registered class's ``from_dict`` on what ``to_dict`` wrote."""
    name = str(d["calibrator"])
    hook = getattr(component, "from_dict", None)
    if hook is None:
        raise InputError(
            f"fits of the calibrator {name!r} cannot be restored; its author can add from_dict(d)"
        )
    if is_built_in(component):
        return cast("FittedCalibrator", hook(d))
    try:
        return adapted_fit(name, hook(d))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"from_dict of the calibrator {name!r} refuses what was saved ({error!r})"
        ) from error


def is_built_in(component: Any) -> bool:
    """Whether a class needs no adapting."""
    return bool(component.__module__.startswith("calbench.calibrators."))


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = np.asarray(array).view()
    view.setflags(write=False)
    return view
