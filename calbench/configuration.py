"""Models and tasks declared without code, in ``calbench.toml`` or ``[tool.calbench]``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calbench.errors import InputError

ENVIRONMENT_VARIABLE = "CALBENCH_CONFIG"
FILE, SHARED_FILE = "calbench.toml", "pyproject.toml"
SECTIONS = ("models", "tasks")

_HEADER = re.compile(r"\s*\[\s*(?P<name>[^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*(?P<key>[A-Za-z0-9_\"'.-]+?)\s*=")


@dataclass(frozen=True)
class Table:
    """One declaration, such as ``[tasks.headlines]``: its values, and where each of them stands.

    Parameters
    ----------
    path
        The file.
    name
        The names of the table, outermost first: ``("tasks", "headlines")``.
    values
        What it holds.
    """

    path: Path
    name: tuple[str, ...]
    values: Mapping[str, Any]
    _text: str = field(default="", repr=False)
    _outer: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """What relative paths in it are relative to."""
        return self.path.parent

    def error(self, key: str | None, problem: str) -> InputError:
        """Return an error that names the file, line and column of a key, or of the table itself."""
        line, column = self._place(key)
        return InputError(f"{self.path}:{line}:{column}: [{'.'.join(self.name)}] {problem}")

    def check(self, kinds: Mapping[str, type | tuple[type, ...]], *, required: tuple[str, ...] = ()) -> None:
        """Refuse keys that are not known, values of another type, and keys that are missing."""
        import difflib

        for key, value in self.values.items():
            if key not in kinds:
                near = difflib.get_close_matches(key, kinds, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(kinds))}"
                raise self.error(key, f"has no key {key!r}; {hint}")
            if not isinstance(value, kinds[key]) or (isinstance(value, bool) and kinds[key] is int):
                raise self.error(key, f"{key} is {value!r}; give {_described(kinds[key])}")
            if isinstance(value, list) and not all(isinstance(part, str) for part in value):
                raise self.error(key, f"{key} is {value!r}; give a list of texts")
        for key in required:
            if key not in self.values:
                raise self.error(None, f"lacks the key {key!r}")

    def inner(self, key: str) -> Table:
        """Return the table under a key."""
        return Table(self.path, (*self.name, key), self.values[key], self._text, self._outer)

    def _place(self, key: str | None) -> tuple[int, int]:
        wanted = (*self._outer, *self.name)
        where: tuple[str, ...] = ()
        header = (1, 1)
        for number, line in enumerate(self._text.splitlines(), start=1):
            if match := _HEADER.match(line):
                where = _names(match["name"])
                if where == wanted:
                    header = number, match.start("name")
                if key is not None and where == (*wanted, key):
                    return number, match.start("name")
            elif key is not None and (match := _KEY.match(line)):
                names = (*where, *_names(match["key"]))
                if names[: len(wanted) + 1] == (*wanted, key):
                    return number, match.start("key") + 1
        return header


def declared(section: str, path: Path | None = None) -> Iterator[Table]:
    """Yield the declarations of one section (``"models"`` or ``"tasks"``) of a file, or of what applies here.

    That is the file named by ``$CALBENCH_CONFIG``, or the nearest ``calbench.toml``, or
    ``pyproject.toml`` with ``[tool.calbench]``, in this folder or one above it.

    Raises
    ------
    InputError
        The file cannot be read; line and column are named.
    """
    path = path or find()
    if path is None:
        return
    text = _text_of(path)
    whole = _parsed(path, text)
    outer = () if path.name != SHARED_FILE else ("tool", "calbench")
    for name in outer:
        whole = whole.get(name, {})
        if not isinstance(whole, dict):
            raise InputError(f"{path}: {'.'.join(outer)} is no table; write [tool.calbench.tasks.NAME]")
    root = Table(path, (), whole, text, outer)
    for key in whole:
        if key not in SECTIONS:
            raise root.error(key, f"has no section {key!r}; there are {' and '.join(SECTIONS)}")
    entries = whole.get(section, {})
    if not isinstance(entries, dict):
        raise root.error(section, f"{section} is {entries!r}; write [{section}.NAME]")
    for name, values in entries.items():
        table = Table(path, (section, name), values, text, outer)
        if not isinstance(values, dict):
            raise Table(path, (section,), entries, text, outer).error(name, f"write [{section}.{name}]")
        yield table


def find() -> Path | None:
    """Return the file that applies in the current folder, if there is one."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise InputError(f"${ENVIRONMENT_VARIABLE} names {named}, and there is no such file")
        return path
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        shared = folder / SHARED_FILE
        if shared.is_file() and "[tool.calbench" in _text_of(shared):
            return shared
    return None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {error}; save it as UTF-8") from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        whole: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        where = f"{path}:{place[1]}:{place[2]}" if place else str(path)
        raise InputError(f"{where}: {error}") from None
    return whole


def _names(dotted: str) -> tuple[str, ...]:
    parts = re.findall(r'"([^"]*)"|\'([^\']*)\'|([^."\'\s]+)', dotted)
    return tuple(next(filter(None, part), "") for part in parts)


def _described(kind: type | tuple[type, ...]) -> str:
    names = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(names[one] for one in kinds)
