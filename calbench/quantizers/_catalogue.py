"""The quantizers by id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from calbench.quantizers._arguments import bind
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
    ),
)
# They are left out where everything is asked for.
_NEED_ARGUMENTS = ("checkpoint",)


def quantizer(name: str) -> Callable[[U], U]:
    """Return a decorator that registers a quantizer's class, or a function that makes one.

    What it decorates is called as ``factory(id, **arguments)``: the keyword-only parameters are the
    arguments that an id may give in brackets (see :func:`calbench.quantizers._arguments.bind`).
    """
    return registry.register(name)


def arguments(quantizer_id: str) -> dict[str, Any]:
    """Every argument that an id stands for, defaults included, as plain JSON.

    >>> arguments("bnb-int8[skip=key]")
    {'skip': ['key'], 'include': [], 'threshold': 0.0}
    """
    spec = Spec.parse(quantizer_id)
    _, values = bind(registry.get(spec.name), spec)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


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
    spec = Spec.parse(spec) if isinstance(spec, str) else spec
    factory = registry.get(spec.name)
    canonical, arguments = bind(factory, spec)
    return factory(canonical, **arguments)
