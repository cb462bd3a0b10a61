"""Texts that say nearly the same: counted, and joined into clusters where a task asks for that."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"\w+")
_LENGTH = 3  # words in a row
_SHARED = 0.8  # of the runs of words that either text has


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """Return for each text the place of the first text of its group; what is unlike all others is its own.

    Two texts are near-duplicates where the runs of three words that both have are four fifths or more of
    those that either has. It is exact: only texts that share one of their rarest runs are compared, and
    two that share none of these cannot be so alike (prefix filtering: Chaudhuri, Ganti & Kaushik,
    ICDE 2006).

    >>> near_duplicates(["one two three four five six", "seven eight", "One two, three four five six!"])
    [0, 1, 0]
    """
    parents = list(range(len(texts)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for one, other in _alike([_runs(text) for text in texts]):
        first, second = sorted((root(one), root(other)))
        parents[second] = first
    return [root(place) for place in range(len(texts))]


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return frozenset(tuple(words[i : i + _LENGTH]) for i in range(max(1, len(words) - _LENGTH + 1)))


def _alike(sets: Sequence[frozenset[tuple[str, ...]]]) -> Iterator[tuple[int, int]]:
    counts = Counter(run for runs in sets for run in runs)
    held: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place in sorted(range(len(sets)), key=lambda place: len(sets[place])):
        runs = sets[place]
        rarest = sorted((run for run in runs if counts[run] > 1), key=lambda run: (counts[run], run))
        # All but so many of its runs must be shared.
        n_spare = len(runs) - math.ceil(_SHARED * len(runs))
        n_unique = len(runs) - len(rarest)
        kept = rarest[: max(0, n_spare + 1 - n_unique)]
        for other in {other for run in kept for other in held[run]}:
            if len(runs & sets[other]) >= _SHARED * len(runs | sets[other]):
                yield other, place
        for run in kept:
            held[run].append(place)
