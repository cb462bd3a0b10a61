"""The seed of whatever is drawn at random: a whole number, or a generator that gives one."""

from __future__ import annotations

import operator
from contextlib import suppress

import numpy as np

from calbench.errors import InputError

SEED = 42  # of every division, fit and resample, unless another is asked for
Seed = int | np.random.Generator


def seed_number(seed: Seed) -> int:
    """Return a seed as a whole number; a generator draws one, and the next time another.

    Raises
    ------
    InputError
        It is neither, or negative.

    Examples
    --------
    >>> seed_number(7)
    7
    >>> seed_number(np.random.default_rng(0)) == seed_number(np.random.default_rng(0))
    True
    """
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**32))
    with suppress(TypeError):
        if (number := operator.index(seed)) >= 0:
            return number
    raise InputError(f"seed={seed!r}; use a whole number from 0 up, or numpy.random.default_rng()")
