"""Calibrators by id: what is fitted on the calibration split to turn logits into better probabilities.

>>> import numpy as np
>>> from calbench import calibrators
>>> rng = np.random.default_rng(0)
>>> logits = 3 * rng.normal(size=(1000, 3))
>>> labels = np.array([rng.choice(3, p=p) for p in calibrators.softmax(logits / 2)])
>>> fitted = calibrators.get("temperature").fit(logits, labels)
>>> round(fitted.temperature, 1)
1.9
>>> calibrators.from_dict(fitted.to_dict())(logits[:1]).tolist() == fitted(logits[:1]).tolist()
True
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from calbench.calibrators._export import from_json, read_torch, to_json, to_onnx, to_torch, write, write_torch
from calbench.calibrators._interface import (
    CalibrationContext,
    Calibrator,
    FittedCalibrator,
)
from calbench.calibrators._plugins import AdaptedCalibrator, build, check_component, is_built_in, restore
from calbench.calibrators._plugins import adapted as adapt
from calbench.calibrators._precision import unit_error
from calbench.errors import InputError
from calbench.records import softmax
from calbench.registry import Registry, Spec

__all__ = [
    "AdaptedCalibrator",
    "CalibrationContext",
    "Calibrator",
    "FittedCalibrator",
    "adapted",
    "calibrator",
    "check_component",
    "from_dict",
    "from_json",
    "get",
    "is_built_in",
    "names",
    "read_torch",
    "registry",
    "softmax",
    "to_json",
    "to_onnx",
    "to_torch",
    "unit_error",
    "write",
    "write_torch",
]

C = TypeVar("C", bound=type)

_BUILT_IN = (
    "_identity",
    "_temperature",
    "_vector",
    "_matrix",
    "_platt",
    "_beta",
    "_isotonic",
    "_histogram",
    "_scaling_binning",
    "_adaptive",
    "_quantile_temperature",
    "_pacs",
    "fuzzy._calibrator",
)

registry: Registry[Any] = Registry(
    "calibrator",
    "calbench.calibrators",
    tuple(f"calbench.calibrators.{module}" for module in _BUILT_IN),
)


def calibrator(name: str) -> Callable[[C], C]:
    """Return a decorator that registers a class as the calibrator ``name``.

    The class has ``fit(self, logits, labels)``, which returns anything callable, ``logits -> probs``,
    and may take a keyword ``context`` (:class:`CalibrationContext`). Inputs are checked before and
    probabilities after. With ``fit_confidences(self, confidences, correct)`` as well, which returns a
    function of confidences or something with ``confidences(values)``, it is used on records of the top
    answer too. What else it may declare, and what holds if it does not: ``needs`` (``"logits"``),
    ``needs_epsilon``, ``preserves_prediction`` and ``cross_fits`` (False; whether it learns so few
    numbers that folds may be pooled), ``source`` (empty), and ``from_dict(d)`` to restore a fit; on the
    fit ``n_parameters`` (0), ``size_bytes``, ``warnings``, ``at(epsilon)`` and ``to_dict()``.

    >>> import numpy as np
    >>> @calibrator("doctest-halving")
    ... class Halving:
    ...     def fit(self, logits, labels):
    ...         return lambda z: softmax(z / 2)
    >>> get("doctest-halving").fit([[2.0, 0], [0, 2.0]], [0, 1])([[2.0, 0.0]]).round(3).tolist()
    [[0.731, 0.269]]

    Raises
    ------
    InputError
        The name cannot be an id, or the class has no such ``fit``.
    DuplicateNameError
        Another class has the name.
    """

    def decorate(component: C) -> C:
        check_component(name, component)
        if is_built_in(component) or not _is_own_entry_point(name, component):
            registry.register(name)(component)
        return component

    return decorate


def names() -> tuple[str, ...]:
    """All ids, sorted."""
    return registry.names()


def get(id: str) -> Calibrator:  # noqa: A002 (the one word for it everywhere)
    """Return a calibrator by its id, which may carry arguments: ``pacs[alpha=2]``.

    Raises
    ------
    UnknownNameError
        Nothing has this id; the message suggests the nearest ones.
    InputError
        An argument is unknown or out of range.
    """
    component, canonical, arguments = registry.bind(id)
    method = build(component, canonical, arguments)
    return cast("Calibrator", method) if is_built_in(component) else adapt(canonical, method)


def adapted(method: Any) -> Calibrator:
    """Return an object with ``fit`` as a calibrator, whether or not it is registered.

    What a third party's class leaves out gets the defaults that :func:`calibrator` names.
    """
    component = type(method)
    if isinstance(method, AdaptedCalibrator) or is_built_in(component):
        return cast("Calibrator", method)
    check_component(component.__name__, component)
    return adapt(component.__name__, method)


def from_dict(d: dict[str, Any]) -> FittedCalibrator:
    """Restore a fitted calibrator from what its ``to_dict()`` gave, to the last bit.

    Raises
    ------
    InputError
        ``d`` is no such thing.
    UnknownNameError
        Its calibrator is not installed.
    """
    if not isinstance(d, dict) or not isinstance(d.get("calibrator"), str):
        raise InputError(
            "this is no fitted calibrator: it has no field 'calibrator'; pass to_dict()'s result"
        )
    return restore(registry.get(Spec.parse(d["calibrator"]).name), d)


def _is_own_entry_point(name: str, component: type) -> bool:
    # A class that is both decorated and declared as an entry point claims its id twice.
    own = f"({component.__module__}:{component.__qualname__})"
    return name in registry.names() and registry.origin(name).endswith(own)
