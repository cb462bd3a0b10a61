"""What tells two records of one name apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from calbench.errors import CorruptRecordError
from calbench.escaping import plain_json
from calbench.store._maintenance import listed
from calbench.store._records import Store, key_of

_MOST_SHOWN = 24


def other_parts(stored: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of two identities that differ, by their dotted names, with short values of both.

    >>> other_parts({"seed": 1, "versions": {"torch": "2.12"}}, {"seed": 1, "versions": {"torch": "2.13"}})
    {'versions.torch': ' (2.12 there, 2.13 here)'}
    """
    one, other = dict(_leaves(stored)), dict(_leaves(here))
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return {name: _values(one.get(name), other.get(name)) for name in names}


def nearest(store: Store, name: str, identity: Mapping[str, Any]) -> str:
    """Say in what the record that comes nearest to an identity differs from it; ``""`` if none has its name.

    Parameters
    ----------
    store
        Where to look.
    name
        ``model::task::quantizer``.
    identity
        Of the record that is not there.
    """
    apart, wanted = dict[str, dict[str, str]](), plain_json(identity)
    for one in listed(store):
        if one.name == name and not one.problem and one.key != key_of(identity):
            try:
                apart[one.key] = other_parts(store.describe(one.key)["identity"], wanted)
            except CorruptRecordError:
                continue
    if not apart:
        return ""
    key = min(apart, key=lambda known: len(apart[known]))
    shown = ", ".join(part + values for part, values in list(apart[key].items())[:4])
    return f"the one that is there ({key[:12]}) differs in {shown}"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _values(one: Any, other: Any) -> str:
    shown = [str(value) for value in (one, other)]
    short = all(len(text) <= _MOST_SHOWN for text in shown)
    return f" ({shown[0]} there, {shown[1]} here)" if short else ""
