"""Components by name: registration by decorator, lazy entry points, and ids that carry arguments."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import metadata
from typing import Any, Generic, TypeVar

from calbench.errors import BrokenPluginError, DuplicateNameError, InputError, UnknownNameError

T = TypeVar("T")
U = TypeVar("U")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# Between double quotes nothing has a meaning but \" and \\: so a path or a template may hold [ ] , = itself.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_SPEC = re.compile(rf"(?P<name>{_QUOTED}|[^\[\]\"]+?)(?:\[(?P<arguments>(?:{_QUOTED}|[^\[\]\"])*)\])?")
_ARGUMENT = re.compile(rf"(?:{_QUOTED}|[^,])+")
_PATTERN = re.compile(rf"(?:{_QUOTED}|\[(?:{_QUOTED}|[^\]\"])*\]|[^,])+")


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
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if re.fullmatch(_QUOTED, text, re.DOTALL) else text


def _quoted(text: str) -> str:
    if text == text.strip() and not re.search(r'[\[\],"]', text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


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
    """

    kind: str
    group: str
    builtin_modules: tuple[str, ...] = ()
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

    def select(self, patterns: str | Iterable[str]) -> tuple[str, ...]:
        """Return the ids that match, sorted; see :func:`select`."""
        return select(self.names(), patterns, kind=self.kind)

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
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "there are " + ", ".join(known)
    return f"no {kind} is called {name!r}; {hint}"


def select(known: Iterable[str], patterns: str | Iterable[str], *, kind: str) -> tuple[str, ...]:
    """Return the names that a selection picks, in the order of ``known``.

    A selection is ids, globs, ``all`` and ``not X``, as an iterable or separated by commas. With
    only ``not`` patterns everything else is picked.

    >>> select(["fp32", "bnb-int8", "bnb-nf4"], "bnb-*, not bnb-nf4", kind="quantizer")
    ('bnb-int8',)

    Raises
    ------
    UnknownNameError
        A pattern matches nothing.
    """
    known = tuple(known)
    if isinstance(patterns, str):
        patterns = split_patterns(patterns)
    wanted, unwanted = set[str](), set[str]()
    only_negative = True
    for pattern in patterns:
        negative = pattern.startswith("not ")
        glob = pattern.removeprefix("not ").strip()
        matches = {n for n in known if glob in ("all", n) or fnmatchcase(n, glob)}
        if not matches:
            raise UnknownNameError(unknown(kind, glob, known))
        if negative:
            unwanted |= matches
        else:
            only_negative = False
            wanted |= matches
    if only_negative:
        wanted = set(known)
    return tuple(n for n in known if n in wanted - unwanted)


def split_patterns(text: str) -> list[str]:
    """Split a selection at its commas, except those inside quotes or the brackets of an id.

    >>> split_patterns("fp32, bnb-nf4[skip=a,double_quant=true]")
    ['fp32', 'bnb-nf4[skip=a,double_quant=true]']
    """
    return [part.strip() for part in _PATTERN.findall(text) if part.strip()]
