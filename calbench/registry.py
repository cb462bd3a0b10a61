"""Components by name: registration by decorator, lazy entry points, and ids that carry arguments."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, Union

from calbench.errors import BrokenPluginError, DuplicateNameError, InputError, UnknownNameError

T = TypeVar("T")
U = TypeVar("U")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# Between double quotes nothing has a meaning but \" and \\: so a path or a template may hold [ ] , = itself.
QUOTED = r'"(?:[^"\\]|\\.)*"'
_SPEC = re.compile(rf"(?P<name>{QUOTED}|[^\[\]\"]+?)(?:\[(?P<arguments>(?:{QUOTED}|[^\[\]\"])*)\])?")
_ARGUMENT = re.compile(rf"(?:{QUOTED}|[^,])+")


@dataclass(frozen=True)
class Spec:
    """An id with arguments, such as ``bnb-nf4[compute_dtype=bfloat16,skip=classifier]``.

    Arguments are strings; whoever owns the id gives them types. They are kept sorted by name, so
    that two spellings of one thing are equal, and a value may hold several parts joined by ``+``.
    A name or value with brackets, commas or quotes in it stands between double quotes.

    >>> Spec.parse("bnb-nf4[skip=classifier+pooler, compute_dtype=bfloat16]").id
    'bnb-nf4[compute_dtype=bfloat16,skip=classifier+pooler]'
    """

    name: str
    arguments: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read an id; raises :class:`InputError` with the expected form if it does not fit."""
        match = _SPEC.fullmatch(text.strip())
        if match is None:
            raise InputError(f"cannot read the id {text!r}; write name or name[argument=value,...]")
        arguments: dict[str, str] = {}
        for part in filter(None, map(str.strip, _ARGUMENT.findall(match["arguments"] or ""))):
            key, equals, value = (p.strip() for p in part.partition("="))
            if not (key and equals and value):
                raise InputError(f"cannot read {part!r} in the id {text!r}; write argument=value")
            if key in arguments:
                raise InputError(f"the id {text!r} gives {key!r} twice; keep one")
            arguments[key] = _unquoted(value)
        return cls(_unquoted(match["name"].strip()), tuple(sorted(arguments.items())))

    @property
    def id(self) -> str:
        """The one canonical spelling; ``Spec.parse(spec.id) == spec``."""
        name = _quoted(self.name)
        if not self.arguments:
            return name
        return f"{name}[{','.join(f'{k}={_quoted(v)}' for k, v in self.arguments)}]"

    def __str__(self) -> str:
        return self.id


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if re.fullmatch(QUOTED, text, re.DOTALL) else text


def _quoted(text: str) -> str:
    if text == text.strip() and not re.search(r'[\[\],"]', text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


class Argument(NamedTuple):
    """What an id may set: the type that its text is read as, and the value when it is left out."""

    kind: Any
    default: Any = inspect.Parameter.empty


def arguments_of(target: Callable[..., Any], *, skip: Iterable[str] = ()) -> dict[str, Argument]:
    """Return what an id may set of a class or function: its parameters, but those to ``skip``.

    A parameter without an annotation has the type of its default.
    """
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError:  # of a third party's annotations for type checkers only
        hints = {}
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name not in skip and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            default = parameter.default
            guess = str if default is parameter.empty else float | None if default is None else type(default)
            found[name] = Argument(hints.get(name, guess), default)
    return found


def bind(spec: Spec, arguments: Mapping[str, Argument]) -> tuple[str, dict[str, Any]]:
    """Return the canonical id of a spec and every argument's value, those left out included.

    Values are ``true`` or ``false``, whole numbers, numbers, ``none``, one of some words, text, or
    (``tuple[str, ...]``) a set of names joined by ``+``. The canonical id leaves out what equals its
    default, so that two ids are equal where they mean the same.

    >>> def factory(id, *, bits: int = 4, skip: tuple[str, ...] = ()): ...
    >>> bind(Spec.parse("mine[skip=b+a,bits=4]"), arguments_of(factory, skip=["id"]))
    ('mine[skip=a+b]', {'bits': 4, 'skip': ('a', 'b')})

    Raises
    ------
    InputError
        An argument is unknown, or its value is not what it allows.
    BrokenPluginError
        An argument is of a type that no text stands for.
    """
    values = {n: a.default for n, a in arguments.items() if a.default is not inspect.Parameter.empty}
    for name, text in spec.arguments:
        if name not in arguments:
            if not arguments:
                raise InputError(f"{spec.name} takes no arguments, but {spec.id!r} gives {name!r}")
            raise InputError(f"in {spec.id!r}: {unknown(f'argument of {spec.name}', name, arguments)}")
        kinds = _alternatives(arguments[name].kind)
        for kind in kinds:
            try:
                values[name] = _value(text, kind)
                break
            except ValueError:
                continue
            except TypeError:
                raise BrokenPluginError(
                    f"{name} in {spec.id!r}: arguments of type {kind} cannot be read from an id"
                ) from None
        else:
            raise InputError(f"{name} in {spec.id!r}: {text!r} is not {' or '.join(map(_allowed, kinds))}")
    shown = {n: _spell(v) for n, v in values.items() if n not in arguments or v != arguments[n].default}
    return Spec(spec.name, tuple(sorted(shown.items()))).id, values


def _alternatives(kind: Any) -> tuple[Any, ...]:
    union = typing.get_origin(kind) in (Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def _value(text: str, kind: Any) -> Any:
    """Read text as a type; raises ValueError if it is none, TypeError if no text can be."""
    if typing.get_origin(kind) is Literal:
        return {str(choice): choice for choice in typing.get_args(kind)}[_one_of(text, kind)]
    if typing.get_origin(kind) is tuple or kind is tuple:
        return tuple(sorted({part.strip() for part in text.split("+") if part.strip()}))
    if kind is bool:
        return _one_of(text.lower(), Literal["true", "false"]) == "true"
    if kind is type(None):
        return _one_of(text.lower(), Literal["none"]) and None
    if kind in (int, float):
        value = kind(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    if kind is str:
        return text
    raise TypeError(kind)


def _one_of(text: str, kind: Any) -> str:
    if text not in map(str, typing.get_args(kind)):
        raise ValueError(text)
    return text


def _allowed(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    names: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a finite number"}
    return names.get(kind, "none")


def _spell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


@dataclass(frozen=True)
class _Entry(Generic[T]):
    origin: str
    target: str  # module:object, by which a decorated component and its entry point are one
    load: Callable[[], T]


@dataclass
class Registry(Generic[T]):
    """Components of one kind, by id.

    Built-in components register when the modules in ``builtin_modules`` are first needed, third
    parties' through the entry point group or by calling :meth:`register` (say in a
    ``conftest.py``). Listing names imports no third party's code; looking one up does.

    Parameters
    ----------
    kind
        The singular noun used in messages, such as ``"calibrator"``.
    group
        Entry point group; the entry point's name is the component's id.
    builtin_modules
        Modules whose import registers the built-in components.
    skip
        Parameters of components that no id sets.
    """

    kind: str
    group: str
    builtin_modules: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    _entries: dict[str, _Entry[T]] = field(default_factory=dict, repr=False)
    _discovered: bool = field(default=False, repr=False)

    def register(self, name: str) -> Callable[[U], U]:
        """Return a decorator that registers what it decorates under ``name``.

        Raises
        ------
        InputError
            The name is not lower-case letters, digits, ``.``, ``_`` and ``-``.
        DuplicateNameError
            Something else already has the name.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot name a {self.kind}; use lower-case letters, digits, '.', '_', '-'"
            )

        def decorate(component: U) -> U:
            origin = f"{component.__module__}:{getattr(component, '__qualname__', name)}"
            self._add(name, _Entry(origin, origin, lambda: component))  # type: ignore[arg-type,return-value]
            return component

        return decorate

    def names(self) -> tuple[str, ...]:
        """All ids, sorted."""
        self._discover()
        return tuple(sorted(self._entries))

    def origin(self, name: str) -> str:
        """Where a component comes from, for listings: ``module:object`` or a distribution."""
        return self._entry(name).origin

    def get(self, name: str) -> T:
        """Return the component, importing it if it comes from an entry point.

        Raises
        ------
        UnknownNameError
            Nothing has this id; the message suggests the nearest ones.
        BrokenPluginError
            The distribution that offers it cannot be imported.
        """
        return self._entry(name).load()

    def bind(self, text: str | Spec) -> tuple[T, str, dict[str, Any]]:
        """Return the component that an id names, its canonical id and all arguments; see :func:`bind`."""
        spec = Spec.parse(text) if isinstance(text, str) else text
        component = self.get(spec.name)
        if not spec.arguments and not callable(component):
            return component, spec.id, {}
        return component, *bind(spec, arguments_of(component, skip=self.skip))  # type: ignore[arg-type]

    def _entry(self, name: str) -> _Entry[T]:
        self._discover()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(unknown(self.kind, name, self._entries)) from None

    def _add(self, name: str, entry: _Entry[T]) -> None:
        present = self._entries.get(name)
        if present is not None and present.target != entry.target:
            raise DuplicateNameError(
                f"two {self.kind}s are called {name!r}: {present.origin} and {entry.origin};"
                " rename one or uninstall its package"
            )
        self._entries[name] = entry

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        try:
            for module in self.builtin_modules:
                importlib.import_module(module)
            for point in metadata.entry_points(group=self.group):
                distribution = point.dist.name if point.dist else "an unknown distribution"
                origin = f"{distribution} ({point.value})"
                self._add(point.name, _Entry(origin, point.value, _loader(self.kind, point, distribution)))
        except BaseException:
            self._discovered = False  # or the next look would find half of them, and no error
            raise


def _loader(kind: str, point: metadata.EntryPoint, distribution: str) -> Callable[[], Any]:
    def load() -> Any:
        try:
            component = point.load()
        except Exception as error:
            raise BrokenPluginError(
                f"the {kind} {point.name!r} of the package {distribution} cannot be imported"
                f" ({type(error).__name__}: {error}); fix or uninstall {distribution}"
            ) from error
        return component

    return load


def unknown(kind: str, name: str, known: Iterable[str] | Mapping[str, object]) -> str:
    """Word the error for an id that does not exist, with the nearest ones that do."""
    known = sorted(known)
    meant, folded = name.casefold(), {each.casefold(): each for each in known}
    longer = sorted((each for each in folded if len(meant) > 2 and meant in each), key=len)
    near = [folded[each] for each in dict.fromkeys([*longer, *difflib.get_close_matches(meant, folded)])][:3]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "there are " + ", ".join(known)
    if kind == "model" and Path(name).is_dir():
        hint = f"there is a folder of this name, which is written ./{name}"
    return f"no {kind} is called {name!r}; {hint}"
