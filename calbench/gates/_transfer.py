"""Does a calibrator that was fitted on the reference still work on the quantized model?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import numpy as np

from calbench import calibrators
from calbench.calibrators import Calibrator
from calbench.errors import InputError, LeakageError, UnknownNameError
from calbench.gates._arms import NamedArms, no_arm
from calbench.gates._bits import warn_of_order
from calbench.gates._comparison import LEVEL, N_RESAMPLES, Comparison
from calbench.gates._fitted_split import Arm, FittedSplit, Split, clusters_of, needs_items, split_items
from calbench.gates._folds import CrossFitted, cross_fits
from calbench.gates._requirement import Contrast
from calbench.records import AnyRecord
from calbench.seeds import SEED, Seed, seed_number
from calbench.statistics import check_same_items, resamples_for

TRANSFER_ARMS = ("raw_reference", "raw_candidate", "calibrated_reference", "transferred", "refitted")
TRANSFER_CONTRASTS = {
    contrast.id: contrast
    for contrast in (
        Contrast("degradation", {"transferred": 1, "calibrated_reference": -1}, "what is lost in transfer"),
        Contrast("regret", {"transferred": 1, "refitted": -1}, "what refitting would buy"),
        Contrast(
            "benefit",
            {"raw_candidate": 1, "transferred": -1},
            "negative where the transferred calibrator hurts",
        ),
    )
}


def transfer(  # noqa: PLR0913 (all but three have defaults)
    reference: AnyRecord,
    candidate: AnyRecord,
    calibrator: str | Calibrator = "temperature",
    *,
    calibration_ids: Iterable[str] | None = None,
    clusters: Iterable[object] | None = None,
    reference_epsilon: float | None = None,
    candidate_epsilon: float | None = None,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: Seed = SEED,
    bootstrap_seed: Seed | None = None,
    folds: int = 1,
) -> Comparison:
    """Fit a calibrator on the reference and on the candidate, and compare what each does to both.

    Parameters
    ----------
    reference, candidate
        Records of the same items: the full-precision and the quantized model. Of the top answer
        only, they allow calibrators of confidences, such as ``"isotonic"``.
    calibrator
        An id such as ``"temperature"``, or an object with ``fit``.
    calibration_ids
        The items to fit on; the others are scored. By default those that the seed draws: as many as the
        reference's metadata say (``n_calibration``), or 40%; ``identity``, which fits nothing, leaves all
        items to be scored.
    clusters : (n,), optional
        What was sampled with each row of the reference, by default what the records say: a cluster is
        fitted on or scored as a whole, and is one unit for the intervals.
    reference_epsilon, candidate_epsilon
        Unit errors of the two precisions, for calibrators that want them.
    level, n_resamples
        Of the intervals; the fits are held fixed.
    seed
        Of the division, the fits and the resamples.
    bootstrap_seed
        Of the resamples, in its place.
    folds
        From 2 up, cross-fit: a hash of its id puts each item (or cluster) in a fold, and all items are
        scored, each by a calibrator that was fitted on the other folds; the kept one is fitted on all.
        Of calibrators that learn few numbers: docs/statistics.md shows why.

    Returns
    -------
    Comparison
        Of five arms: ``raw_reference`` and ``raw_candidate``; ``calibrated_reference`` (fitted and scored
        on the reference), ``transferred`` (fitted on the reference, scored on the candidate: what is shipped
        if nobody refits), and ``refitted`` (fitted and scored on the candidate). Its contrasts are
        ``degradation`` (transferred - calibrated_reference), ``regret`` (transferred - refitted) and
        ``benefit`` (raw_candidate - transferred).

    Raises
    ------
    InputError
        The records hold different items or labels, or cannot be divided as asked.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> from calbench import Predictions
    >>> z = rng.normal(size=(2000, 2)) * 2
    >>> y = (rng.random(2000) < 1 / (1 + np.exp(z[:, 0] - z[:, 1]))).astype(int)
    >>> full = Predictions(range(2000), 2 * z, y)
    >>> quantized = Predictions(range(2000), 2 * z + rng.normal(size=z.shape) / 4, y)
    >>> moved = transfer(full, quantized, "temperature")
    >>> bool(moved.contrast("benefit", "ece").value > 0.05)
    True
    """
    if type(reference) is not type(candidate):
        raise InputError(
            "one record holds class vectors and the other the top answer only; reduce both with"
            " to_top_label()"
        )
    check_same_items(reference, candidate)
    warn_of_order(reference, candidate)
    number = seed_number(seed)
    of = _clusters(reference, clusters) or clusters_of(reference, candidate) or {}
    if folds != 1 and calibration_ids is not None:
        raise InputError("calibration_ids names one split; leave it or folds out")
    crossed = folds != 1 and needs_items(calibrator)
    if crossed and not cross_fits(calibrator):
        raise InputError(
            f"{_name(calibrator)} learns too many numbers to be cross-fitted: what is pooled over folds"
            " shrinks its error; leave folds out, or take temperature"
        )
    split = (
        Split((), tuple(np.sort(reference.item_ids).tolist()))
        if crossed
        else _division(reference, calibrator, calibration_ids, of, number)
    )
    resamples = resamples_for(
        split.test,
        n_resamples=n_resamples,
        seed=number if bootstrap_seed is None else bootstrap_seed,
        clusters=[of[item] for item in split.test] if of else None,
    )
    sides = [
        CrossFitted.divided(record, folds, resamples=resamples, seed=number, clusters=of, epsilon=epsilon)
        if crossed
        else FittedSplit.of(record, split, resamples=resamples, epsilon=epsilon, fit_seed=number)
        for record, epsilon in ((reference, reference_epsilon), (candidate, candidate_epsilon))
    ]
    return transfer_between(sides[0], sides[1], calibrator, level=level)


def _clusters(reference: AnyRecord, clusters: Iterable[object] | None) -> dict[str, str]:
    """Return the cluster of each item; empty where each item was sampled by itself."""
    if clusters is None:
        return {}
    given = [str(cluster) for cluster in clusters]
    if len(given) != len(reference):
        raise InputError(f"clusters has {len(given)} values for {len(reference)} items; give one an item")
    return dict(zip(reference.item_ids.tolist(), given, strict=True))


def _division(
    reference: AnyRecord,
    calibrator: str | Calibrator,
    calibration_ids: Iterable[str] | None,
    clusters: Mapping[str, str],
    seed: int,
) -> Split:
    ids = np.sort(reference.item_ids).tolist()
    if calibration_ids is None:
        n_calibration = n_calibration_of(reference)
        return division(ids, calibrator, n_calibration=n_calibration, seed=seed, clusters=clusters)
    chosen = {str(item) for item in calibration_ids}
    if missing := sorted(chosen - set(ids)):
        raise InputError(f"calibration_ids: no item is called {missing[0]!r}")
    split = Split(tuple(sorted(chosen)), tuple(item for item in ids if item not in chosen))
    if not split.test:
        raise InputError("every item is in calibration_ids; leave some to score")
    if clusters and (both := {clusters[i] for i in split.calibration} & {clusters[i] for i in split.test}):
        raise LeakageError(
            f"{len(both)} clusters are both fitted on and scored, {min(both)!r} first; give calibration_ids"
            " that hold whole clusters"
        )
    return split


def division(
    item_ids: list[str],
    calibrator: str | Calibrator,
    *,
    n_calibration: int | None,
    seed: Seed,
    clusters: Mapping[str, str] | None = None,
) -> Split:
    """Return how items are divided for a calibrator: not at all for one that fits nothing."""
    if not needs_items(calibrator):
        return Split((), tuple(sorted(item_ids)))
    return split_items(item_ids, n_calibration=n_calibration, seed=seed, clusters=clusters)


def n_calibration_of(record: AnyRecord) -> int | None:
    """Return how many of its items a record says are to be fitted on; None if it does not say."""
    said = record.metadata.get("n_calibration")
    return said if isinstance(said, int) and 0 < said < len(record) else None


def transfer_between(
    reference: FittedSplit, candidate: FittedSplit, calibrator: str | Calibrator, *, level: float = LEVEL
) -> Comparison:
    """Compare two models that share their items and resamples; see :func:`transfer`."""
    name = _name(calibrator)
    method = calibrators.get(calibrator) if isinstance(calibrator, str) else calibrators.adapted(calibrator)
    reference.fitted(name, method)  # now, so that what cannot be fitted says so at once

    @cache
    def arm(wanted: str) -> Arm:
        if wanted == "refitted" and reference.n_folds > 1:
            raise InputError(
                "refitted, and with it the regret, is not cross-fitted: two fits on the same items differ by"
                " less than the folds' fits among themselves; leave folds out"
            )
        if wanted.startswith("raw_") and wanted in TRANSFER_ARMS:
            return reference.raw if wanted == "raw_reference" else candidate.raw
        if wanted == "transferred":
            return _transferred(reference, candidate, name, method)
        if wanted in TRANSFER_ARMS:
            return (reference if wanted == "calibrated_reference" else candidate).calibrated(name, method)
        return _transferred(reference, candidate, wanted, other_calibrator(wanted))

    return Comparison(
        NamedArms(TRANSFER_ARMS, arm),
        "calibrated_reference",
        "transferred",
        TRANSFER_CONTRASTS,
        level,
        reference.n_calibration,
        len(reference.test),
        reference.metrics,
        name,
        notes=_notes,
        folds=reference.n_folds,
    )


def _name(calibrator: str | Calibrator) -> str:
    return calibrator if isinstance(calibrator, str) else type(calibrator).__name__


def other_calibrator(name: str) -> Calibrator:
    """Return a calibrator that stands for its transferred arm; refuse what is neither that nor an arm."""
    try:
        return calibrators.get(name)
    except UnknownNameError as error:
        raise UnknownNameError(f"{no_arm(name, TRANSFER_ARMS)}; nor is it a calibrator: {error}") from None


def _transferred(reference: FittedSplit, candidate: FittedSplit, name: str, method: Calibrator) -> Arm:
    if candidate is reference:
        return reference.calibrated(name, method)
    return candidate.applied(reference.fitted(name, method).at(candidate.epsilon))


def _notes(comparison: Comparison) -> Iterator[str]:
    fitted = comparison.arm("transferred").fitted
    if fitted is not None:
        yield from fitted.warnings
    yield from _harm(comparison)
    yield from _collapse(comparison)


def _harm(comparison: Comparison) -> Iterator[str]:
    """Say which metrics the transferred calibrator made worse."""
    for name in comparison.metrics:
        benefit = comparison.contrast("benefit", name)
        if not benefit.lower_is_better or benefit.value >= 0:
            continue
        verb = "hurts" if benefit.interval[1] < 0 else "may hurt"
        low, high = (-bound for bound in reversed(benefit.interval))
        yield (
            f"the transferred calibrator {verb}: {name} {-benefit.value:+.4f} [{low:+.4f}, {high:+.4f}]"
            " against no calibrator"
        )


def _collapse(comparison: Comparison) -> Iterator[str]:
    """Say where a lower calibration error is no improvement."""
    if "ece" not in comparison.metrics or comparison.contrast("degradation", "ece").value >= 0:
        return
    for name, worse in (("nll", 1), ("brier", 1), ("accuracy", -1)):
        if name not in comparison.metrics:
            continue
        other = comparison.contrast("degradation", name)
        if min(worse * bound for bound in other.interval) > 0:
            yield (
                f"ece fell while {name} got worse ({other.value:+.4f}): the quantized model is less"
                " informative, not better calibrated"
            )
