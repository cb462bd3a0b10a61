"""Where a value stands in a row: ``doc.gold_index``, ``choices[].logprob``, ``choices[0].logprobs``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from calbench.errors import InputError

_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>-?\d*)\]")

_REMEDY = "mend the path in ColumnNames(...), or drop the row"


def split_path(path: str, columns: Sequence[str]) -> tuple[str, list[str | int | None]] | None:
    """Return a path's column and the steps into it; None if no column begins it.

    A step is a name, a place in a list, or None for each of a list. The longest column wins, since
    one may itself be called ``a.b``.
    """
    roots = [name for name in columns if name and path.startswith(name) and path[len(name) :][:1] in ".["]
    if not roots:
        return None
    root = max(roots, key=len)
    steps: list[str | int | None] = []
    at = len(root)
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise InputError(f"cannot read {path!r} from {path[at:]!r} on; write a.b, a[].b or a[0].b")
        steps.append(found["name"] or (int(found["index"]) if found["index"] else None))
        at = found.end()
    return root, steps


def walk(value: Any, steps: Sequence[str | int | None], place: str) -> Any:
    """Return what is at the end of some steps.

    Raises
    ------
    InputError
        There is nothing; the place is named.
    """
    for at, step in enumerate(steps):
        held = _parsed(value)
        if isinstance(step, str):
            if not isinstance(held, dict) or step not in held:
                there = ", ".join(map(repr, list(held)[:10])) if isinstance(held, dict) else repr(held)[:80]
                raise InputError(f"{place}: {step!r} is missing; there is {there}; {_REMEDY}")
            value = held[step]
            continue
        if not isinstance(held, list):
            raise InputError(f"{place}: {repr(held)[:80]} is no list; {_REMEDY}")
        if step is None:
            return [walk(part, steps[at + 1 :], place) for part in held]
        if not -len(held) <= step < len(held):
            raise InputError(f"{place}: has {len(held)} entries, and [{step}] is asked for; {_REMEDY}")
        value = held[step]
    return value


def _parsed(value: Any) -> Any:
    """Return what a text holds as JSON, as csv files have lists and objects; other values as they are."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
