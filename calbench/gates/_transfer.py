"""Does a calibrator that was fitted on the reference still work on the quantized model?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from calbench import calibrators
from calbench.calibrators import Calibrator, FittedCalibrator
from calbench.errors import InputError
from calbench.gates._fitted_split import Arm, Side
from calbench.gates._top_label_split import TopLabelSide, side_of
from calbench.records import Predictions, TopLabelPredictions
from calbench.registry import unknown
from calbench.statistics import (
    Estimate,
    GateDecision,
    McNemarResult,
    Resampled,
    Resamples,
    check_same_items,
    decide,
    difference,
    mcnemar,
    relative_bounds,
)

METRICS = ("ece", "nll")
ARMS = ("raw_reference", "raw_candidate", "calibrated_reference", "transferred", "native")


@dataclass(frozen=True, eq=False)
class TransferResult:
    """The five arms on the same test items, and what their differences say.

    Attributes
    ----------
    raw_reference, raw_candidate
        Uncalibrated: each metric's value and interval.
    calibrated_reference
        Fitted on the reference, scored on the reference.
    transferred
        Fitted on the reference, scored on the candidate: what is shipped if nobody refits.
    native
        Fitted on the candidate, scored on the candidate.
    degradation
        ``transferred - calibrated_reference``: the loss in transfer.
    relative_degradation
        The same as a share of ``calibrated_reference``; its interval is that of the ratio, and a
        metric whose ratio is not bounded is left out.
    regret
        ``transferred - native``: what refitting would buy.
    benefit
        ``raw_candidate - transferred``: negative where the transferred calibrator hurts.
    accuracy_test
        McNemar's test of ``transferred`` against ``raw_candidate``: did the calibrator change
        what the quantized model answers for better or worse?
    quantization_accuracy_test
        McNemar's test of ``raw_candidate`` against ``raw_reference``.
    warnings
        What a reader of the numbers must know.
    n_calibration, n_test
        Sizes of the splits.
    fitted
        The calibrator as fitted on the reference and as applied to the candidate.
    """

    calibrator: str
    arm: Callable[[str], Arm] = field(repr=False)
    level: float
    n_calibration: int
    n_test: int
    fitted: FittedCalibrator = field(repr=False)

    # Arms are measured, and intervals computed, when they are asked for: a leaderboard reads few.

    @cached_property
    def degradation(self) -> dict[str, Estimate]:
        """See the class."""
        return self._differences("transferred", "calibrated_reference")

    @cached_property
    def relative_degradation(self) -> dict[str, Estimate]:
        """See the class."""
        return _ratios(self.arm("transferred"), self.arm("calibrated_reference"), self.level)

    @cached_property
    def regret(self) -> dict[str, Estimate]:
        """See the class."""
        return self._differences("transferred", "native")

    @cached_property
    def benefit(self) -> dict[str, Estimate]:
        """See the class."""
        return self._differences("raw_candidate", "transferred")

    @property
    def accuracy_test(self) -> McNemarResult:
        """See the class."""
        return mcnemar(self.arm("transferred").items.correct, self.arm("raw_candidate").items.correct)

    @property
    def quantization_accuracy_test(self) -> McNemarResult:
        """See the class."""
        return mcnemar(self.arm("raw_candidate").items.correct, self.arm("raw_reference").items.correct)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """See the class."""
        return (*self.fitted.warnings, *_harm(self.benefit, self), *_collapse(self.degradation))

    @property
    def raw_reference(self) -> dict[str, Estimate]:
        """See the class."""
        return self.estimates("raw_reference")

    @property
    def raw_candidate(self) -> dict[str, Estimate]:
        """See the class."""
        return self.estimates("raw_candidate")

    @property
    def calibrated_reference(self) -> dict[str, Estimate]:
        """See the class."""
        return self.estimates("calibrated_reference")

    @property
    def transferred(self) -> dict[str, Estimate]:
        """See the class."""
        return self.estimates("transferred")

    @property
    def native(self) -> dict[str, Estimate]:
        """See the class."""
        return self.estimates("native")

    def estimates(self, arm: str) -> dict[str, Estimate]:
        """Return each metric of one arm with its interval, which allows for the bias of ECE."""
        measured = self.arm(arm).measured
        return {name: r.estimate(self.level, method="bounds") for name, r in measured.items()}

    def _differences(self, first: str, second: str) -> dict[str, Estimate]:
        a, b = self.arm(first).measured, self.arm(second).measured
        return {name: difference(a[name], b[name], self.level) for name in a}

    def measured(self, arm: str, metric: str) -> Resampled:
        """Return one metric of one arm with its resamples; :class:`InputError` if it was not measured."""
        measured = self.arm(arm).measured
        if metric not in measured:
            raise InputError(
                f"this experiment measured {', '.join(measured)}, not {metric!r}; add it to its metrics"
            )
        return measured[metric]

    def decide(
        self,
        metric: str = "ece",
        *,
        candidate: str = "transferred",
        reference: str = "calibrated_reference",
        margin: float = 0.0,
        relative: bool = False,
        level: float | None = None,
    ) -> GateDecision:
        """Gate one arm against another; see :func:`calbench.statistics.compare`."""
        return decide(
            self.measured(candidate, metric),
            self.measured(reference, metric),
            margin=margin,
            relative=relative,
            level=self.level if level is None else level,
        )


def transfer(  # noqa: PLR0913 (all but three have defaults)
    reference: Predictions | TopLabelPredictions,
    candidate: Predictions | TopLabelPredictions,
    calibrator: str | Calibrator = "temperature",
    *,
    calibration_ids: Iterable[str] | None = None,
    calibration_fraction: float = 0.5,
    metrics: Sequence[str] = METRICS,
    n_resamples: int = 2000,
    level: float = 0.95,
    reference_epsilon: float | None = None,
    candidate_epsilon: float | None = None,
    rng: np.random.Generator,
    resampling_rng: np.random.Generator | None = None,
) -> TransferResult:
    """Fit a calibrator on the reference and on the candidate, and compare what each does to both.

    Parameters
    ----------
    reference, candidate
        Records of the same items: the full-precision and the quantized model. Of the top answer
        only, they allow calibrators of confidences, such as ``"isotonic"``.
    calibrator
        An id such as ``"temperature"``, or an object with ``fit``.
    calibration_ids
        The items to fit on; the others are scored. By default a random ``calibration_fraction``.
    metrics
        Ids of what to measure.
    n_resamples, level
        Of the bootstrap over the test items; the fits are held fixed.
    reference_epsilon, candidate_epsilon
        Unit errors of the two precisions, for calibrators that want them.
    rng
        Draws the split, the fits' seed and the resamples.
    resampling_rng
        Draws the resamples in its place, for another draw over the same split.

    Raises
    ------
    InputError
        The records hold different items or labels, or cannot be divided as asked.
    LeakageError
        An item would be both fitted on and scored.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(2000, 2)) * 2
    >>> y = (rng.random(2000) < 1 / (1 + np.exp(z[:, 0] - z[:, 1]))).astype(int)
    >>> full = Predictions(range(2000), 2 * z, y)
    >>> quantized = Predictions(range(2000), 2 * z + rng.normal(size=z.shape) / 4, y)
    >>> result = transfer(full, quantized, rng=np.random.default_rng(1))
    >>> bool(result.benefit["ece"].value > 0.05)
    True
    """
    if type(reference) is not type(candidate):
        raise InputError(
            "one record holds class vectors and the other the top answer only; reduce both with"
            " to_top_label()"
        )
    check_same_items(candidate, reference)
    split_rng, draw_rng = rng.spawn(2)
    ids = np.sort(reference.item_ids)
    if calibration_ids is None:
        n_calibration = round(calibration_fraction * len(ids))
        if not 0 < n_calibration < len(ids):
            raise InputError(
                f"calibration_fraction={calibration_fraction} of {len(ids)} items leaves a split empty"
            )
        chosen = set(split_rng.permutation(ids)[:n_calibration].tolist())
    else:
        chosen = {str(item) for item in calibration_ids}
    test = [item for item in ids.tolist() if item not in chosen]
    if not test:
        raise InputError("every item is in calibration_ids; leave some to score")
    resamples = Resamples.draw(test, n_resamples=n_resamples, rng=resampling_rng or draw_rng)
    fit_seed = int(split_rng.integers(2**31))

    def side(record: Predictions | TopLabelPredictions, epsilon: float | None) -> Side | TopLabelSide:
        return side_of(
            record,
            calibration_ids=chosen,
            test_ids=test,
            metrics=metrics,
            resamples=resamples,
            epsilon=epsilon,
            fit_seed=fit_seed,
        )

    sides = side(reference, reference_epsilon), side(candidate, candidate_epsilon)
    return transfer_between(*sides, calibrator, level=level)


def transfer_between(
    reference: Side | TopLabelSide,
    candidate: Side | TopLabelSide,
    calibrator: str | Calibrator,
    *,
    level: float = 0.95,
) -> TransferResult:
    """Compare two sides that share their items and resamples; see :func:`transfer`."""
    if isinstance(calibrator, str):
        name, method = calibrator, calibrators.get(calibrator)
    else:
        name, method = type(calibrator).__name__, calibrators.adapted(calibrator)
    fitted = reference.fitted(name, method)
    applied = fitted.at(candidate.epsilon) if candidate is not reference else fitted

    @cache
    def arm(wanted: str) -> Arm:
        if wanted not in ARMS:
            raise InputError(unknown("arm", wanted, ARMS))
        if wanted.startswith("raw_"):
            return reference.raw if wanted == "raw_reference" else candidate.raw
        if wanted == "transferred" and candidate is not reference:
            return candidate.applied(applied)
        return (reference if wanted == "calibrated_reference" else candidate).calibrated(name, method)

    return TransferResult(
        calibrator=name,
        arm=arm,
        level=level,
        n_calibration=len(reference.calibration),
        n_test=len(reference.test),
        fitted=applied,
    )


def _ratios(a: Arm, b: Arm, level: float) -> dict[str, Estimate]:
    ratios = {}
    for name, candidate in a.measured.items():
        reference = b.measured[name]
        if reference.value <= 0 or (reference.values <= 0).any():
            continue  # a share of nothing, or of a signed quantity, means nothing
        interval = relative_bounds(candidate, reference, level=level)
        if math.isfinite(interval[1]):
            ratios[name] = Estimate(candidate.value / reference.value - 1, interval, level)
    return ratios


def _harm(benefit: Mapping[str, Estimate], result: TransferResult) -> Iterator[str]:
    """Say which metrics the transferred calibrator made worse."""
    for name, estimate in benefit.items():
        if result.measured("transferred", name).metric.direction != "lower" or estimate.value >= 0:
            continue
        shown = "hurts" if estimate.interval[1] < 0 else "may hurt"
        low, high = (-bound for bound in reversed(estimate.interval))
        yield (
            f"the transferred calibrator {shown}: {name} {-estimate.value:+.4f} [{low:+.4f}, {high:+.4f}]"
            " against no calibrator"
        )


def _collapse(degradation: Mapping[str, Estimate]) -> Iterator[str]:
    """Say where a lower calibration error is no improvement."""
    if "ece" not in degradation or degradation["ece"].value >= 0:
        return
    for name, worse in (("nll", 1), ("brier", 1), ("accuracy", -1)):
        other = degradation.get(name)
        if other and min(worse * bound for bound in other.interval) > 0:
            yield (
                f"ece fell while {name} got worse ({other.value:+.4f}): the quantized model is less"
                " informative, not better calibrated"
            )
