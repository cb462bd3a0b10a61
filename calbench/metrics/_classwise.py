"""Calibration errors that look at every class, or at each predicted class apart."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.metrics._absolute_sums import AbsoluteSums
from calbench.metrics._binning import EDGES, check_n_bins, uniform_bins
from calbench.metrics._outcomes import Outcomes
from calbench.metrics._registration import CONFIDENCE, formula
from calbench.metrics._weighted import SumStatistic, Term
from calbench.records import Float64


def _classwise_sums(
    items: Outcomes, *, n_bins: int = 15, reduce: str = "mean", threshold: float | None = None
) -> AbsoluteSums | None:
    if threshold is not None:
        return None
    probs = np.minimum(items.probs, 1.0)
    n_classes = probs.shape[1]
    scale = 1.0 if reduce == "sum" else 1.0 / n_classes
    gaps = probs - (items.labels[:, None] == np.arange(n_classes))
    groups = uniform_bins(probs, n_bins) + np.arange(n_classes) * n_bins
    coarse = np.repeat(np.arange(n_classes), n_bins)
    return AbsoluteSums(groups, gaps * scale, probs * (1 - probs) * scale**2, coarse)


@formula(
    "classwise_ece",
    needs="probs",
    range=(0, 1),
    definition={"norm": "l1", "edges": EDGES},
    biased=True,
    absolute_sums=_classwise_sums,
)
def classwise_calibration_error(
    outcomes: Outcomes,
    *,
    n_bins: int = 15,
    reduce: Literal["mean", "sum"] = "mean",
    threshold: float | None = None,
) -> SumStatistic:
    r"""Calibration error of each class's probability, averaged over the classes.

    Range [0, 1] (up to the number of classes with ``reduce="sum"``); lower is better. For class
    :math:`k` with bins :math:`b` of :math:`p_{ik}`:
    :math:`\sum_b \big|\frac1n \sum_{i \in b} (p_{ik} - [y_i = k])\big|`.

    Parameters
    ----------
    probs : (n_samples, n_classes) float
        Rows sum to one.
    labels : (n_samples,) int
        0-based.
    n_bins
        Number of bins of equal width, right-closed.
    reduce
        ``"mean"`` or ``"sum"`` over classes.
    threshold
        Leave out probabilities that do not exceed it; a class's error is then that of its kept
        items, and 0 if it has none.
    sample_weight : (n_samples,) float, optional
        Not negative, not all zero; only their ratios matter.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    References
    ----------
    Kull et al., NeurIPS 2019, def. 3 (arXiv:1910.12656); threshold: Nixon et al., 2019
    (arXiv:1904.01685).

    Examples
    --------
    >>> round(classwise_calibration_error([[0.7, 0.3], [0.6, 0.4]], [0, 1]), 12)
    0.45
    """
    check_n_bins(n_bins)
    if reduce not in ("mean", "sum"):
        raise InputError(f"reduce={reduce!r} is neither 'mean' nor 'sum'")
    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"threshold={threshold}; use a probability in [0, 1), or None")
    terms = []
    for column in range(outcomes.probs.shape[1]):
        probs = outcomes.probs[:, column]
        kept = np.ones(len(outcomes)) if threshold is None else (probs > threshold).astype(np.float64)
        gaps = (probs - (outcomes.labels == column)) * kept
        terms += [Term(gaps, uniform_bins(np.minimum(probs, 1.0), n_bins), n_bins), Term(kept)]

    def finish(totals: Float64, sums: tuple[Float64, ...]) -> Float64:
        errors = np.zeros_like(totals)
        for gaps, (weight,) in zip(sums[::2], sums[1::2], strict=True):
            sizes = np.abs(gaps).sum(axis=0)
            errors += np.divide(sizes, weight, out=np.zeros_like(sizes), where=weight > 0)
        return errors if reduce == "sum" else errors / (len(sums) // 2)

    return SumStatistic(tuple(terms), finish)


def _top_label_bins(items: Outcomes, n_bins: int) -> tuple[npt.NDArray[np.intp], int]:
    groups = items.predicted * check_n_bins(n_bins) + uniform_bins(items.confidences, n_bins)
    return groups, items.probs.shape[1] * n_bins


def _top_label_sums(items: Outcomes, *, n_bins: int = 15) -> AbsoluteSums:
    return AbsoluteSums.of_confidence(items, *_top_label_bins(items, n_bins))


@formula(
    "toplabel_ece",
    needs="probs",
    range=(0, 1),
    definition={"norm": "l1", "edges": EDGES, "confidence": CONFIDENCE},
    biased=True,
    absolute_sums=_top_label_sums,
)
def top_label_calibration_error(outcomes: Outcomes, *, n_bins: int = 15) -> SumStatistic:
    r"""Gap between confidence and accuracy, over bins of confidence within each predicted class.

    Range [0, 1]; lower is better; never below ``ece`` with the same bins, because gaps of different
    predicted classes cannot cancel. Each class counts by how often it is predicted. Parameters are
    those of :func:`expected_calibration_error`.

    Raises
    ------
    InputError
        The message names the row or the option, and the remedy.

    References
    ----------
    Gupta & Ramdas, "Top-label calibration and multiclass-to-binary reductions", ICLR 2022, eq. 4
    (arXiv:2107.08353).

    Examples
    --------
    >>> probs = [[0.7, 0.3], [0.7, 0.3], [0.3, 0.7], [0.3, 0.7]]
    >>> round(top_label_calibration_error(probs, [0, 0, 0, 1]), 12)
    0.25
    """
    term = Term(outcomes.gaps, *_top_label_bins(outcomes, n_bins))
    return SumStatistic((term,), lambda totals, sums: np.abs(sums[0]).sum(axis=0) / totals)
