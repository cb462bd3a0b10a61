"""Keep docs/reference/names.md, which lists every public name with what it is, or check it.

The site shows whole docstrings; this page is the one that reads on GitHub too. ``make reference`` writes it.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import calbench
from calbench.registry import Registry

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "names.md"
HEAD = """# Every public name

One line each, from the docstrings. `help(name)` in Python and the site's pages say the rest: shapes, units,
ranges, errors and sources. What begins with an underscore is not public. Each metric's range, and when to use
it and when not, stands in [Which metric](../metrics.md).
"""


def main() -> None:
    """Write the page, or exit with 1 if it is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page is stale")
    arguments = parser.parse_args()
    if arguments.check:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        sys.exit(0 if fresh else f"{PAGE.name} is stale: run scripts/update_reference.py")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(line for face in faces() for line in section(face))])


def faces() -> Iterator[ModuleType]:
    """Yield calbench and its public packages and modules that say what they hold."""
    yield calbench
    for found in pkgutil.walk_packages(calbench.__path__, "calbench."):
        public = not any(part.startswith("_") for part in found.name.split("."))
        if public and hasattr(module := importlib.import_module(found.name), "__all__"):
            yield module


def section(face: ModuleType) -> Iterator[str]:
    """Yield the lines about one package."""
    yield f"## {face.__name__}\n"
    yield f"{first_line(face)}\n"
    yield "| name | what it is |"
    yield "|---|---|"
    for name in sorted(set(face.__all__) - {"__version__"}, key=lambda name: (name.casefold(), name)):
        yield f"| `{name}{arguments_of(getattr(face, name))}` | {what(getattr(face, name))} |"
    yield ""


def arguments_of(value: Any) -> str:
    """Return the names of a function's arguments, as one calls it."""
    if not inspect.isroutine(value):
        return ""
    parameters = inspect.signature(value).parameters.values()
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    names, keywords = [], False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            names.append("*")
        keywords = keywords or parameter.kind is inspect.Parameter.VAR_POSITIONAL
        optional = "" if parameter.default is inspect.Parameter.empty else "="
        names.append(f"{stars.get(parameter.kind, '')}{parameter.name}{optional}")
    return f"({', '.join(names)})"


def what(value: Any) -> str:
    """Return the first line of a docstring; of a value, what it is."""
    if inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value):
        return first_line(value)
    if isinstance(value, Registry):
        return "what is registered, by id"
    if isinstance(value, str | int | float | tuple):
        return f"the value `{_plain(repr(value))}`"
    own = inspect.getdoc(value) or ""
    if own and own != inspect.getdoc(type(value)):
        return first_line(value)
    if hasattr(value, "__args__"):
        return f"the type `{_plain(re.sub(r'(?:[a-z_]+[.])+', '', str(value)))}`"
    return f"a value of type `{type(value).__name__}`"


def first_line(value: Any) -> str:
    """Return the first paragraph of a docstring on one line, safe in a table."""
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0]
    return _plain(" ".join(paragraph.split()))


def _plain(text: str) -> str:
    for role in ("func", "class", "meth", "attr", "mod", "data"):
        text = text.replace(f":{role}:`~", "`").replace(f":{role}:`", "`")
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    main()
