"""Is what production sees still what was accepted? A sample against a baseline, of other items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from calbench.errors import InputError
from calbench.gates import MARGIN, Contrast, Decision, Requirement, evaluate
from calbench.metrics import get
from calbench.records import AnyRecord, Float64, Predictions
from calbench.seeds import SEED, Seed
from calbench.statistics import Change, Estimate, check_level

N_PSI_BINS = 10
# The customary reading of the index: below it, nothing worth acting on has moved.
PSI_LIMIT = 0.1
_N_MISTAKES = 10
_MIN_ITEMS = 50


@dataclass(frozen=True)
class Drift:
    """How far the confidences of a sample are from the baseline's, as distributions.

    Attributes
    ----------
    ks_statistic, ks_p_value
        Two-sample Kolmogorov-Smirnov: the largest gap between the two distribution functions.
    psi
        Population stability index over ten bins that hold equally many of the baseline's items:
        the sum of (s - b) ln(s / b) over their shares.
    psi_limit
        What it is flagged above: 0.1, or what chance explains at these numbers of items if that is
        more.
    flagged
        Both say that it moved.
    """

    ks_statistic: float
    ks_p_value: float
    psi: float
    psi_limit: float
    flagged: bool


@dataclass(frozen=True)
class SureMistakes:
    """Wrong answers given with high confidence.

    Attributes
    ----------
    threshold
        The confidence from which on an answer counts as sure.
    n_sample, n_baseline
        How many there are.
    share_sample, share_baseline
        As a share of the items.
    p_value
        Fisher's exact test that the sample's share is not larger.
    new
        The surest ones that the baseline did not make on the same item: id and confidence.
    n_new
        How many of those there are.
    flagged
        Whether the share is larger.
    """

    threshold: float
    n_sample: int
    n_baseline: int
    share_sample: float
    share_baseline: float
    p_value: float
    new: tuple[tuple[str, float], ...]
    n_new: int
    flagged: bool


@dataclass(frozen=True)
class Monitoring:
    """What a sample says beside a baseline.

    Attributes
    ----------
    n_sample, n_baseline
        Numbers of items.
    sample_ece, baseline_ece
        Each with an interval that allows for its bias.
    ece
        Whether it rose by more than the margin; the two hold different items, so the interval is
        that of independent samples.
    drift, sure_mistakes
        See the classes.
    """

    n_sample: int
    n_baseline: int
    sample_ece: Estimate
    baseline_ece: Estimate
    ece: Decision
    drift: Drift
    sure_mistakes: SureMistakes

    @property
    def flags(self) -> tuple[str, ...]:
        """What is flagged, in words; empty if nothing is."""
        found = {
            "calibration": self.ece.outcome == "fail",
            "confidence drift": self.drift.flagged,
            "high-confidence mistakes": self.sure_mistakes.flagged,
        }
        return tuple(name for name, flagged in found.items() if flagged)


def monitor(
    baseline: AnyRecord,
    sample: AnyRecord,
    *,
    margin: float = MARGIN,
    threshold: float = 0.9,
    level: float = 0.99,
    n_resamples: int = 2000,
    seed: Seed = SEED,
) -> Monitoring:
    """Compare a labelled sample from production with what was accepted.

    The items may be others; nothing is paired. Each of the three checks raises a false alarm with a
    chance of at most ``1 - level``.

    Parameters
    ----------
    baseline, sample
        Records, at least 50 items each.
    margin
        By how much the ECE may rise.
    threshold
        Confidence from which on a wrong answer is a sure mistake.
    level
        Of the intervals and tests.
    n_resamples, seed
        Of the bootstrap.

    Raises
    ------
    InputError
        There are too few items, an option is out of range, or the two are of different classes or tasks.

    References
    ----------
    The index's null distribution: B. Yurdakul & J. Naranjo, "Statistical properties of the
    population stability index", J. Risk Model Validation 14 (2020).

    Examples
    --------
    >>> from calbench import TopLabelPredictions
    >>> rng = np.random.default_rng(0)
    >>> def draw(n, extra):
    ...     p = rng.uniform(0.5, 0.95, n)
    ...     return TopLabelPredictions(range(n), np.minimum(p + extra, 1), rng.random(n) < p)
    >>> accepted = draw(4000, 0.0)
    >>> monitor(accepted, draw(4000, 0.0)).flags
    ()
    >>> monitor(accepted, draw(4000, 0.15)).flags
    ('calibration', 'confidence drift', 'high-confidence mistakes')
    """
    check_level(level)
    if not 0 < threshold < 1:
        raise InputError(f"threshold={threshold}; use a confidence between 0 and 1, such as 0.9")
    if not math.isfinite(margin):
        raise InputError(f"margin={margin}; use a finite number")
    for name, record in (("the sample", sample), ("the baseline", baseline)):
        if len(record) < _MIN_ITEMS:
            raise InputError(f"{name} has {len(record)} items; monitoring needs at least {_MIN_ITEMS}")
    _check_alike(baseline, sample)
    each = (1 + level) / 2  # two intervals at this level hold both truths at the level itself
    theirs, ours = (
        evaluate(record, ["ece"], level=each, n_resamples=n_resamples, seed=seed)["ece"]
        for record in (baseline, sample)
    )
    change = Change(
        ours.value - theirs.value,
        (ours.interval[0] - theirs.interval[1], ours.interval[1] - theirs.interval[0]),
        len(sample),
        "ece",
        level,
        candidate_value=ours.value,
        reference_value=theirs.value,
    )
    pair = Contrast("", {"sample": 1.0, "baseline": -1.0})
    wanted = Requirement(get("ece"), "max_increase", margin, pair, level)
    return Monitoring(
        n_sample=len(sample),
        n_baseline=len(baseline),
        sample_ece=ours,
        baseline_ece=theirs,
        ece=Decision.of(wanted, change),
        drift=confidence_drift(baseline.confidences, sample.confidences, level=level),
        sure_mistakes=sure_mistakes(baseline, sample, threshold=threshold, level=level),
    )


def confidence_drift(baseline: Float64, sample: Float64, *, level: float = 0.99) -> Drift:
    """Compare two sets of confidences ``(n,)`` and ``(m,)`` as distributions."""
    test = scipy.stats.ks_2samp(sample, baseline, method="asymp")  # the exact one fails on ties
    edges = np.unique(np.quantile(baseline, np.linspace(0, 1, N_PSI_BINS + 1)[1:-1]))
    n_bins = len(edges) + 1
    shares = [_shares(values, edges) for values in (sample, baseline)]
    psi = float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())
    by_chance = float(scipy.stats.chi2.ppf(level, max(n_bins - 1, 1)) * (1 / len(sample) + 1 / len(baseline)))
    limit = max(PSI_LIMIT, by_chance)
    p_value = float(test.pvalue)
    return Drift(float(test.statistic), p_value, psi, limit, p_value < 1 - level and psi > limit)


def sure_mistakes(baseline: AnyRecord, sample: AnyRecord, *, threshold: float, level: float) -> SureMistakes:
    """Compare how often the two are wrong with at least that confidence, and name the new cases."""
    wrong = [~record.correct & (record.confidences >= threshold) for record in (sample, baseline)]
    counts = [int(rows.sum()) for rows in wrong]
    sizes = [len(sample), len(baseline)]
    table = np.array([[count, size - count] for count, size in zip(counts, sizes, strict=True)])
    p_value = float(scipy.stats.fisher_exact(table, alternative="greater").pvalue)
    known = set(baseline.item_ids[wrong[1]].tolist())
    rows = [int(row) for row in np.flatnonzero(wrong[0]) if str(sample.item_ids[row]) not in known]
    rows.sort(key=lambda row: (-sample.confidences[row], str(sample.item_ids[row])))
    return SureMistakes(
        threshold=threshold,
        n_sample=counts[0],
        n_baseline=counts[1],
        share_sample=counts[0] / sizes[0],
        share_baseline=counts[1] / sizes[1],
        p_value=p_value,
        new=tuple((str(sample.item_ids[r]), float(sample.confidences[r])) for r in rows[:_N_MISTAKES]),
        n_new=len(rows),
        flagged=p_value < 1 - level,
    )


def _check_alike(baseline: AnyRecord, sample: AnyRecord) -> None:
    """Refuse to compare digits with film reviews: what both records say of themselves must be the same."""
    for part in ("task", "classes"):
        before, now = baseline.metadata.get(part), sample.metadata.get(part)
        if before and now and before != now:
            raise InputError(
                f"the baseline's {part} is {_named(before)} and the sample's {_named(now)}; monitor a sample"
                " with a baseline of the same"
            )
    if isinstance(baseline, Predictions) and isinstance(sample, Predictions):
        before, now = baseline.logits.shape[1], sample.logits.shape[1]
        if before != now:
            raise InputError(
                f"the baseline has {before} classes and the sample {now}; monitor a sample with a baseline of"
                " the same classes"
            )


def _named(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)


def _shares(values: Float64, edges: Float64) -> Float64:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    # Half an item keeps an empty bin's logarithm finite.
    return np.asarray((counts + 0.5) / (len(values) + 0.5 * len(counts)))
