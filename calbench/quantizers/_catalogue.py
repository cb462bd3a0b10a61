"""The quantizers by id."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from calbench.errors import BrokenPluginError
from calbench.quantizers._kv_cache import with_rounded_cache, without_cache
from calbench.quantizers._protocol import Quantizer
from calbench.registry import Registry, Spec

U = TypeVar("U", bound=Callable[..., Quantizer])

registry: Registry[Callable[..., Quantizer]] = Registry(
    kind="quantizer",
    group="calbench.quantizers",
    builtin_modules=(
        "calbench.quantizers._cast",
        "calbench.quantizers._bnb",
        "calbench.quantizers._pretrained_checkpoint",
        "calbench.quantizers.gptq",
        "calbench.quantizers._hqq",
        "calbench.quantizers._gguf",
        "calbench.quantizers._fp8",
        "calbench.quantizers._int8",
        "calbench.quantizers._fp4",
        "calbench.quantizers._awq",
    ),
    skip=("id",),
)
# They are left out where everything is asked for.
_NEED_ARGUMENTS = ("checkpoint",)


def quantizer(name: str) -> Callable[[U], U]:
    """Return a decorator that registers a quantizer's class, or a function that makes one.

    What it decorates is called as ``factory(id, **arguments)``: the keyword-only parameters are the
    arguments that an id may give in brackets (see :func:`calbench.registry.bind`).
    """
    return registry.register(name)


def register(name: str, kind: Callable[..., Quantizer], what: str, /, **fixed: Any) -> None:
    """Register a dataclass under an id that fixes some of its fields; the others are the id's arguments.

    ``what`` is what listings say of it.
    """

    def make(id: str, **arguments: Any) -> Quantizer:  # noqa: A002 (the argument is an id)
        return kind(id, **fixed, **arguments)

    parameters = {n: p for n, p in inspect.signature(kind).parameters.items() if n not in fixed}
    make.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    make.__annotations__ = {n: h for n, h in typing.get_type_hints(kind).items() if n in parameters}
    make.__doc__, make.__module__, make.__qualname__ = what, kind.__module__, name.replace("-", "_")
    quantizer(name)(make)


def arguments(quantizer_id: str) -> dict[str, Any]:
    """Every argument that an id stands for, defaults included, as plain JSON.

    >>> arguments("bnb-int8[skip=key]")
    {'skip': ['key'], 'include': [], 'threshold': 0.0}
    """
    spec, cache = without_cache(Spec.parse(quantizer_id))
    _, _, values = registry.bind(spec)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return plain if cache is None else plain | {"kv": cache}


def names() -> tuple[str, ...]:
    """All quantizer ids that mean something without arguments, sorted."""
    return tuple(name for name in registry.names() if name not in _NEED_ARGUMENTS)


def get(spec: str | Spec) -> Quantizer:
    """Return the quantizer that an id describes, such as ``bnb-nf4[skip=key,double_quant=true]``.

    Nothing is imported or loaded but the factory; the backend is asked for by ``check_available``
    and ``build``.

    >>> get("bnb-nf4[double_quant=false,skip=value+key]").id
    'bnb-nf4[skip=key+value]'

    Raises
    ------
    UnknownNameError
        There is no such quantizer.
    InputError
        An argument is unknown or its value cannot be used.
    """
    spec, cache = without_cache(Spec.parse(spec) if isinstance(spec, str) else spec)
    factory, canonical, arguments = registry.bind(spec)
    for parameter in list(inspect.signature(factory).parameters.values())[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise BrokenPluginError(
                f"quantizer {canonical!r}: the parameter {parameter.name!r} of its factory is not"
                " keyword-only with a default; write def factory(id, *, bits: int = 4)"
            )
    made = factory(canonical, **arguments)
    return made if cache is None else with_rounded_cache(made, cache)
