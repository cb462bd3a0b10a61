"""The rules that a metric keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from calbench import metrics
from calbench.metrics import Metric, Outcomes
from calbench.records import Float64, Int64, softmax

# Sums in another order differ in their last digits, and so do fits that stop at a tolerance.
_TOLERANCE = 1e-6


def check_metric(
    metric: str | Metric, *, n_classes: tuple[int, ...] = (2, 4), n_samples: int = 300, seed: int = 0
) -> None:
    """Check that a metric keeps the rules that calbench relies on.

    On seeded, overconfident synthetic probabilities, for each number of classes: values are finite
    numbers in the declared range; the order of items changes nothing; an item that weighs twice
    counts as if it were there twice, without which intervals have no width; what ``vectorized`` gives
    agrees with the function; inputs are left as they are.

    Parameters
    ----------
    metric
        A registered id, which may set options, or a metric.
    n_classes
        Numbers of classes to check with.
    n_samples
        Number of items.
    seed
        Of the synthetic data.

    Raises
    ------
    AssertionError
        A rule is broken; the message says which and how to mend it.

    Examples
    --------
    >>> check_metric("brier")
    """
    chosen = metrics.get(metric)
    for k in n_classes:
        rng = np.random.default_rng([seed, n_samples, k])
        probs, labels = _data(n_samples, k, rng)
        value = _value(chosen, probs, labels)
        order = rng.permutation(n_samples)
        _require_equal(
            chosen, value, _value(chosen, probs[order], labels[order]), "depends on the order of the items"
        )
        ones = np.ones(n_samples)
        _require_equal(chosen, value, _value(chosen, probs, labels, ones), "weights of 1 change it")
        counts = rng.multinomial(n_samples, ones / n_samples)
        weighted = _value(chosen, probs, labels, counts.astype(float))
        repeated = _value(chosen, np.repeat(probs, counts, axis=0), np.repeat(labels, counts))
        _require_equal(
            chosen,
            repeated,
            weighted,
            "an item of weight 2 is not the same as the item twice; use sample_weight in every mean and sum",
        )
        statistic = chosen.weighted(Outcomes.from_distribution(probs, labels))
        (prepared,) = statistic(counts.astype(float)[:, None])
        _require_equal(chosen, weighted, prepared, "what vectorized= gives differs from the function")


def _data(n: int, k: int, rng: np.random.Generator) -> tuple[Float64, Int64]:
    """Probabilities of a model that is twice as sure as it should be, and labels."""
    logits = rng.normal(scale=2.0, size=(n, k))
    labels = np.argmax(logits / 2 + rng.gumbel(size=(n, k)), axis=1)
    return softmax(logits), labels.astype(np.int64)


def _value(metric: Metric, probs: Float64, labels: Int64, weights: Float64 | None = None) -> float:
    given = [array for array in (probs, labels, weights) if array is not None]
    before = [array.copy() for array in given]
    value: Any = metric(probs, labels, sample_weight=weights)
    _require(
        metric,
        all(np.array_equal(a, b) for a, b in zip(given, before, strict=True)),
        "writes into its inputs; work on a copy",
    )
    _require(
        metric,
        isinstance(value, int | float | np.integer | np.floating) and np.isfinite(value),
        f"returned {value!r}; return a finite float",
    )
    low, high = metric.range
    _require(
        metric,
        low - _TOLERANCE <= value <= high + _TOLERANCE,
        f"returned {value}, outside its range [{low}, {high}]; declare the range that it has",
    )
    return float(value)


def _require_equal(metric: Metric, expected: float, value: float, problem: str) -> None:
    close = np.isclose(value, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    _require(metric, close, f"{problem} ({value} instead of {expected})")


def _require(metric: Metric, holds: object, message: str) -> None:
    if not holds:
        raise AssertionError(f"{metric.id}: {message}")
