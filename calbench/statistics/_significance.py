"""Significance tests: McNemar's for paired answers, Holm's correction for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt
import scipy

from calbench.errors import InputError
from calbench.records import Float64, check_correct

EXACT_BELOW = 25


@dataclass(frozen=True)
class McNemarResult:
    """Outcome of McNemar's test.

    Attributes
    ----------
    only_a, only_b
        Items that only the first, or only the second, answered right.
    p_value
        Two-sided.
    exact
        Whether it is the binomial one (fewer than 25 items differ).
    """

    only_a: int
    only_b: int
    p_value: float
    exact: bool


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> McNemarResult:
    r"""Test whether two models answer the same items right equally often.

    Only the items on which they differ count: :math:`b` right for the first alone and :math:`c` for
    the second alone. Below 25 of them the p-value is the exact binomial one; otherwise it comes
    from :math:`(|b - c| - 1)^2 / (b + c)`, chi-squared with one degree of freedom.

    Parameters
    ----------
    correct_a, correct_b : (n,) bool
        Of the same items in the same order.

    References
    ----------
    Q. McNemar, Psychometrika 12 (1947); continuity correction: A. Edwards, Psychometrika 13 (1948).

    Examples
    --------
    >>> mcnemar([True] * 9 + [False], [False] * 8 + [True] * 2)
    McNemarResult(only_a=8, only_b=1, p_value=0.0390625, exact=True)
    """
    n = len(np.atleast_1d(np.asarray(correct_a)))
    if n == 0:
        raise InputError("correct_a is empty; there is nothing to test")
    a, b = check_correct(correct_a, n), check_correct(correct_b, n)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    exact = discordant < EXACT_BELOW
    if exact:
        p_value = min(1.0, 2 * float(scipy.special.bdtr(min(only_a, only_b), discordant, 0.5)))
    else:
        p_value = float(scipy.special.chdtrc(1, max(abs(only_a - only_b) - 1, 0) ** 2 / discordant))
    return McNemarResult(only_a, only_b, p_value, exact)


@overload
def holm(p_values: Mapping[str, float]) -> dict[str, float]: ...
@overload
def holm(p_values: Sequence[float] | Float64) -> Float64: ...
def holm(p_values: Mapping[str, float] | Sequence[float] | Float64) -> dict[str, float] | Float64:
    r"""Adjust p-values so that rejecting those below :math:`\alpha` errs at all with at most that chance.

    The :math:`i`-th smallest of :math:`m` becomes
    :math:`\max_{j \le i} \min(1, (m - j + 1) p_{(j)})`. A mapping comes back as one.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).

    Examples
    --------
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    if isinstance(p_values, Mapping):
        adjusted = holm(list(p_values.values()))
        return dict(zip(p_values, adjusted.tolist(), strict=True))
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError("p_values must be a list of numbers in [0, 1]")
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    result = np.empty_like(values)
    result[order] = stepped
    return result
