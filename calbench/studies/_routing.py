"""Routing: answers that the compressed model is unsure of are asked again at full precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from calbench.errors import InputError
from calbench.gates import Comparison
from calbench.metrics import Outcomes
from calbench.statistics import Change, Estimate, change, resample

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Route:
    """What becomes of the answers where those below a threshold are asked of the reference.

    Attributes
    ----------
    threshold
        Confidence from which on the candidate's answer stands, as the transferred calibrator gives it.
    routed
        Share of the items that the reference is asked.
    accuracy, ece
        Of the answers that come out.
    cost
        Of an item, where asking the reference costs 1: the candidate's cost and the share routed.
    refitted_routed
        Share of the items that a calibrator fitted on the candidate itself would route.
    refitting
        Accuracy with the transferred calibrator less that with the refitted one: below 0, the calibrator that
        was fitted before compression keeps answers that it should have sent on, or sends the wrong ones.
    """

    threshold: float
    routed: Estimate
    accuracy: Estimate
    ece: Estimate
    cost: float
    refitted_routed: float
    refitting: Change


def routes(
    moved: Comparison, thresholds: Sequence[float] = THRESHOLDS, *, candidate_cost: float = 0.25
) -> Iterator[Route]:
    """Yield what each threshold costs and gives.

    Parameters
    ----------
    moved
        What :func:`calbench.transfer` returns.
    thresholds
        Confidences, in [0, 1].
    candidate_cost
        Of an answer of the candidate, as a share of what one of the reference costs.

    Raises
    ------
    InputError
        A threshold or the cost is out of its range.
    """
    if not 0 <= candidate_cost <= 1:
        raise InputError(
            f"the candidate's cost is {candidate_cost}; write a share of the reference's, 0 to 1"
        )
    if wrong := [t for t in thresholds if not 0 <= t <= 1]:
        raise InputError(f"a threshold of {wrong[0]} is no confidence; write numbers from 0 to 1")
    resamples = moved.arm("transferred").resamples
    for threshold in thresholds:
        found = {}
        for arm in ("transferred", "refitted"):
            candidate, reference = moved.arm(arm).outcomes, moved.arm("calibrated_reference").outcomes
            sent = candidate.confidences < threshold
            mixed = Outcomes.from_top_label(
                (candidate.confidences * ~sent) + (reference.confidences * sent),
                (candidate.correct & ~sent) | (reference.correct & sent),
            )
            # The share of items is the "accuracy" of being sent.
            share = resample(["accuracy"], Outcomes.from_top_label(candidate.confidences, sent), resamples)
            found[arm] = share["accuracy"], resample(["accuracy", "ece"], mixed, resamples)
        (sent_on, shipped), (would_send, refitted) = found["transferred"], found["refitted"]
        yield Route(
            threshold,
            sent_on.estimate(moved.level, method="bounds"),
            shipped["accuracy"].estimate(moved.level, method="bounds"),
            shipped["ece"].estimate(moved.level, method="bounds"),
            candidate_cost + sent_on.value,
            would_send.value,
            change(refitted["accuracy"], shipped["accuracy"], level=moved.level),
        )
