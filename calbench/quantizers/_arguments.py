"""The arguments in a quantizer's id: typed by its factory's signature, and spelled one way only."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable
from typing import Any, Literal

from calbench.errors import BrokenPluginError, InputError
from calbench.registry import Spec, unknown

_TRUTH = {"true": True, "false": False}


def bind(factory: Callable[..., Any], spec: Spec) -> tuple[str, dict[str, Any]]:
    """Return the canonical id and the typed arguments that a spec asks of a factory.

    The factory takes the id first, then keyword-only parameters with a default and one of the
    annotations ``bool``, ``int``, ``float``, ``str``, ``Literal[...]`` of strings, or
    ``tuple[str, ...]`` (a set of names, joined by ``+`` in the id).

    >>> def factory(id, *, bits: int = 4, skip: tuple[str, ...] = ()): ...
    >>> bind(factory, Spec.parse("mine[skip=b+a,bits=4]"))
    ('mine[skip=a+b]', {'bits': 4, 'skip': ('a', 'b')})

    Raises
    ------
    InputError
        An argument is unknown or its value does not fit.
    BrokenPluginError
        The factory's signature is not of that form.
    """
    parameters = _parameters(spec.name, factory)
    values = {name: parameter.default for name, parameter in parameters.items()}
    for name, text in spec.arguments:
        if name not in parameters:
            if not parameters:
                raise InputError(f"{spec.name} takes no arguments, but {spec.id!r} gives {name!r}")
            raise InputError(unknown(f"argument of {spec.name}", name, parameters))
        values[name] = _parse(text, parameters[name].annotation, f"{name} in {spec.id!r}")
    shown = tuple(
        (name, _spell(value)) for name, value in sorted(values.items()) if value != parameters[name].default
    )
    return Spec(spec.name, shown).id, values


def _parameters(name: str, factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(target)
    _, *rest = inspect.signature(factory).parameters.values()
    for parameter in rest:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise BrokenPluginError(
                f"quantizer {name!r}: the parameter {parameter.name!r} of its factory is not keyword-only"
                " with a default; write def factory(id, *, bits: int = 4)"
            )
    return {p.name: p.replace(annotation=hints.get(p.name, str)) for p in rest}


def _parse(text: str, kind: Any, where: str) -> Any:
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if text not in choices:
            raise InputError(f"{where}: {text!r} is not one of {', '.join(choices)}")
        return text
    if typing.get_origin(kind) is tuple:
        return tuple(sorted({part.strip() for part in text.split("+") if part.strip()}))
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise InputError(f"{where}: {text!r} is neither true nor false")
        return _TRUTH[text.lower()]
    if kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            word = "a whole number" if kind is int else "a number"
            raise InputError(f"{where}: {text!r} is not {word}") from None
        if not math.isfinite(value):
            raise InputError(f"{where}: {text!r} is not finite")
        return value
    if kind is str:
        return text
    raise BrokenPluginError(f"{where}: arguments of type {kind} cannot be read from an id")


def _spell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
