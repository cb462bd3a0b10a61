"""Selections of components: ids, globs, ``all`` and ``not X``, in text with commas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from calbench.errors import UnknownNameError
from calbench.registry import QUOTED, unknown

_PATTERN = re.compile(rf"(?:{QUOTED}|\[(?:{QUOTED}|[^\]\"])*\]|[^,])+")


class Patterns(NamedTuple):
    """A selection: ids, globs, ``all`` and ``not X``; one without arguments stands for all arguments."""

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]

    @classmethod
    def read(cls, patterns: str | Iterable[str]) -> Patterns:
        """Read an iterable, or text with commas (those inside the brackets of an id are the id's)."""
        parts = split_patterns(patterns) if isinstance(patterns, str) else list(patterns)
        negative = [part.startswith("not ") for part in parts]
        globs = [part.removeprefix("not ").strip() for part in parts]
        return cls(
            tuple(glob for glob, no in zip(globs, negative, strict=True) if not no),
            tuple(glob for glob, no in zip(globs, negative, strict=True) if no),
        )

    def picks(self, *names: str) -> bool:
        """Whether something with these names is selected: by one of them, and by none left out."""
        return (not self.wanted or _any(self.wanted, names)) and not _any(self.unwanted, names)


def _any(globs: Iterable[str], names: Iterable[str]) -> bool:
    return any(
        glob in ("all", name, name.partition("[")[0]) or fnmatchcase(name, glob)
        for glob in globs
        for name in names
    )


def select(
    known: Iterable[str],
    patterns: str | Iterable[str],
    *,
    kind: str,
    start: Iterable[str] | None = None,
    canonical: Callable[[str], str] | None = None,
) -> tuple[str, ...]:
    """Return the names that a selection (see :class:`Patterns`) picks, in the order of ``known``.

    With only ``not`` patterns everything in ``start`` (``known``, unless given) is picked but that. An id
    with arguments picks itself, spelled as ``canonical`` says.

    >>> select(["fp32", "bnb-int8", "bnb-nf4"], "bnb-*, not bnb-nf4", kind="quantizer")
    ('bnb-int8',)

    Raises
    ------
    UnknownNameError
        A pattern matches nothing.
    """
    known = tuple(known)
    asked = Patterns.read(patterns)
    spelled: dict[str, str] = {}
    for pattern in (*asked.wanted, *asked.unwanted):
        if canonical is not None and pattern.endswith("]"):
            spelled[pattern] = canonical(pattern)
        elif not _any([pattern], known):
            raise UnknownNameError(unknown(kind, pattern, known))
    picked = [n for n in known if _any(asked.wanted, [n])] if asked.wanted else list(start or known)
    picked += [spelled[pattern] for pattern in asked.wanted if pattern in spelled]
    unwanted = [spelled.get(pattern, pattern) for pattern in asked.unwanted]
    return tuple(
        dict.fromkeys(name for name in picked if name not in unwanted and not _any(unwanted, [name]))
    )


def split_patterns(text: str) -> list[str]:
    """Split a selection at its commas, except those inside quotes or the brackets of an id.

    >>> split_patterns("fp32, bnb-nf4[skip=a,double_quant=true]")
    ['fp32', 'bnb-nf4[skip=a,double_quant=true]']
    """
    return [part.strip() for part in _PATTERN.findall(text) if part.strip()]
