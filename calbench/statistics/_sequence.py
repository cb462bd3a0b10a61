r"""Looking at a gate more than once: how many items each look takes, and at which level it may decide.

Looks are taken at :math:`n_k = n_0 2^k \le N` items of one fixed random order. A look may err with
:math:`\alpha (n_k - n_{k-1}) / N`, so that all looks together err with :math:`\alpha` at most, whatever
they have in common (a union bound). :math:`N` is fixed before the first look. Who asks beyond it spends a
reserve: :math:`4 \alpha / 5` is for what was planned, and :math:`2^{-j} \alpha / 5` for the j-th extension.

A later look that leaves fewer items to ask than it took is not taken, nor a first one that leaves fewer than
half as many: the next one, at all of them, decides more.

A look's p-value counts as :math:`p_k N / (n_k - n_{k-1})`; a gate's is the least of its looks', which Holm's
procedure takes like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from calbench.errors import InputError

PLANNED = 0.8  # of the error allowed; the rest is for extensions
FIRST_LOOK = 500


@dataclass(frozen=True)
class Look:
    """One look at a gate.

    Attributes
    ----------
    n
        Items it takes.
    share
        Its part of the error that all looks may make.
    """

    n: int
    share: float

    def level(self, level: float) -> float:
        """Return the level of this look's interval, where all looks together have ``level``."""
        return 1 - (1 - level) * self.share


def looks(most: int, *, first: int = FIRST_LOOK, extended: tuple[int, ...] = ()) -> tuple[Look, ...]:
    """Return the looks at up to ``most`` items, and at those of each later extension.

    Parameters
    ----------
    most
        N, the items that were planned before the first look.
    first
        Items of the first look.
    extended
        Totals asked later, in the order in which they were decided on, each larger than what was before.

    Raises
    ------
    InputError
        A number is not positive, or an extension extends nothing.

    Examples
    --------
    >>> [look.n for look in looks(3000)]
    [500, 1000, 3000]
    >>> [look.n for look in looks(600)]
    [600]
    >>> round(sum(look.share for look in looks(3000)), 9)
    0.8
    >>> [(look.n, round(look.share, 3)) for look in looks(1000, extended=(4000,))]
    [(500, 0.4), (1000, 0.4), (2000, 0.033), (4000, 0.067)]
    """
    if most < 1 or first < 1:
        raise InputError(f"looks at {most} items, the first at {first}; both must be at least 1")
    planned = _between(0, most, min(first, most), PLANNED)
    for number, total in enumerate(extended, start=1):
        if total <= planned[-1].n:
            raise InputError(
                f"an extension to {total} items adds none to {planned[-1].n}; name a larger total"
            )
        share = (1 - PLANNED) * 2.0**-number
        planned += _between(planned[-1].n, total, 2 * planned[-1].n, share)
    return tuple(planned)


def sequential_p_value(p_values: Mapping[int, float], planned: tuple[Look, ...]) -> float:
    r"""Return a gate's p-value from those of the looks that were taken, by their numbers of items.

    It is at most :math:`\alpha` where a look's own p-value is at most that look's share of it.

    Raises
    ------
    InputError
        A look was not planned.
    """
    shares = {look.n: look.share for look in planned}
    stray = sorted(set(p_values) - set(shares))
    if stray:
        raise InputError(f"no look at {stray[0]} items was planned; the looks are at {sorted(shares)}")
    return min([1.0, *(p / shares[n] for n, p in p_values.items())])


def _between(before: int, last: int, start: int, share: float) -> list[Look]:
    """Return doubling looks from ``start`` up to ``last``, sharing the error by the items they add."""
    ends = []
    n = start
    while n < last:
        if last - n >= (n / 2 if n == start else n):
            ends.append(n)
        n *= 2
    ends.append(last)
    begins = [before, *ends[:-1]]
    return [Look(b, share * (b - a) / (last - before)) for a, b in zip(begins, ends, strict=True)]
