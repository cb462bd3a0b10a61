"""What compressing one model costs on one task, quantizer by quantizer, and which of them may be shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from types import MappingProxyType

import numpy as np

from calbench.errors import BackendUnavailableError, CalbenchError, InputError
from calbench.gates import GATE_METRIC, MARGIN, Comparison, Decision, compare, transfer
from calbench.metrics import get
from calbench.quantizers import check_fits
from calbench.quantizers import get as quantizer_of
from calbench.runs import Runner, reference_of
from calbench.store import StoredPredictions
from calbench.studies._precision import MissingRow

# Beside the calibration error, which passes a model at chance: accuracy, and a score that both enter.
LIMITS: Mapping[str, float] = MappingProxyType({GATE_METRIC: MARGIN, "brier": MARGIN, "accuracy": MARGIN})
RAW = "identity"


@dataclass(frozen=True, eq=False)
class Compressed:
    """What one quantizer, or one compressed model, made of a model.

    Attributes
    ----------
    name
        The quantizer's id, or the candidate's name.
    comparison
        Of the reference and the compressed model.
    decisions
        One for each metric that is limited.
    effective_bits
        Stored bits per quantized weight; None where that is not known.
    size_bytes
        Of the model in memory; None where that is not known.
    """

    name: str
    comparison: Comparison = field(repr=False)
    decisions: tuple[Decision, ...]
    effective_bits: float | None = None
    size_bytes: int | None = None

    @property
    def outcome(self) -> str:
        """The worst outcome: ``"fail"``, ``"inconclusive"`` or ``"pass"``."""
        outcomes = {decision.outcome for decision in self.decisions}
        return next(o for o in ("fail", "inconclusive", "pass") if o in outcomes)


def judged(
    name: str,
    reference: StoredPredictions,
    candidate: StoredPredictions,
    *,
    calibrator: str = RAW,
    limits: Mapping[str, float] = LIMITS,
    seed: int,
    n_resamples: int = 2000,
) -> Compressed:
    """Compare two stored records, raw on all items, or with a calibrator fitted on the reference.

    Parameters
    ----------
    limits
        How much worse each metric may be; ``"brier"`` stands for the top answer's where only that is known.
    """
    records = reference.predictions, candidate.predictions
    if calibrator == RAW:
        comparison = compare(*records, seed=seed, n_resamples=n_resamples)
    else:
        comparison = transfer(*records, calibrator, seed=seed, n_resamples=n_resamples)
    decisions = []
    for metric, limit in limits.items():
        asked = comparison.brier if metric == "brier" else metric
        decisions.append(
            comparison.decide(asked, max_decrease=limit)
            if get(asked).direction == "higher"
            else comparison.decide(asked, max_increase=limit)
        )
    told = candidate.provenance.get("quantization", {})
    return Compressed(
        name, comparison, tuple(decisions), told.get("effective_bits"), told.get("resident_bytes")
    )


def compressions(
    runner: Runner,
    model: str,
    task: str,
    quantizers: Sequence[str],
    *,
    calibrator: str = RAW,
    limits: Mapping[str, float] = LIMITS,
    seed: int,
) -> Iterator[Compressed | MissingRow]:
    """Compare each quantized build of a model with the model itself, running it only where no record answers.

    Where no quantizer can be had or fits, that is said before the reference is asked.

    Raises
    ------
    CalbenchError
        The reference itself cannot be asked; what is wrong with a quantizer is a :class:`MissingRow`.
    """
    missing = list(takewhile(bool, (_missing(runner, model, name, task) for name in quantizers)))
    if len(missing) == len(quantizers):
        yield from filter(None, missing)
        return
    reference = runner.record(model, reference_of(model), task)
    for quantizer in quantizers:
        try:
            candidate = runner.record(model, quantizer, task)
            yield judged(
                quantizer,
                reference,
                candidate,
                calibrator=calibrator,
                limits=limits,
                seed=seed,
                n_resamples=runner.n_resamples,
            )
        except CalbenchError as error:  # noqa: PERF203 (one bad quantizer of several)
            yield _row(model, quantizer, task, error)


def _missing(runner: Runner, model: str, quantizer: str, task: str) -> MissingRow | None:
    if runner.source(model).model.builds:
        return None
    try:
        check_fits(quantizer_of(quantizer), runner.source(model).model)
    except CalbenchError as error:
        return _row(model, quantizer, task, error)
    return None


def _row(model: str, quantizer: str, task: str, error: CalbenchError) -> MissingRow:
    return MissingRow(model, task, quantizer, str(error), isinstance(error, BackendUnavailableError))


def at_chance(record: StoredPredictions) -> str:
    """Say so where a model is not shown to be right more often than the commonest answer; else ``""``."""
    labels = getattr(record.predictions, "labels", None)
    if labels is None:
        return ""
    share = float(np.bincount(labels).max() / len(labels))
    accuracy = compare(record.predictions, record.predictions).estimate("accuracy")
    if accuracy.interval[0] > share:
        return ""
    return (
        f"the reference's accuracy is {accuracy.value:.3f} [{accuracy.interval[0]:.3f},"
        f" {accuracy.interval[1]:.3f}], not shown to beat the commonest answer ({share:.3f}): its confidence"
        " is about nothing, and whether that is kept says little"
    )


def recommended(
    found: Sequence[Compressed], *, budget_bytes: float | None = None
) -> tuple[Compressed | None, list[Compressed]]:
    """Return the smallest build that is shown to keep everything, and the smaller ones that may.

    Parameters
    ----------
    found
        As :func:`compressions` yields them.
    budget_bytes
        The most that the model may take in memory.

    Returns
    -------
    tuple
        The build, or None; and those that are undecided and smaller, or any size if there is none. Where no
        size is known, as of served builds, the order in which they were found stands for it.

    Raises
    ------
    InputError
        There is a budget, and no size is known.
    """
    if found and all(c.size_bytes is None for c in found):
        if budget_bytes is not None:
            raise InputError(
                "no build tells how much memory it takes, as servers do not; leave the budget out"
            )
        best = next((c for c in found if c.outcome == "pass"), None)
        before = found[: found.index(best)] if best else found
        return best, [c for c in before if c.outcome == "inconclusive"]
    fitting = [
        c
        for c in found
        if c.size_bytes is not None and (budget_bytes is None or c.size_bytes <= budget_bytes)
    ]
    by_size = sorted(fitting, key=lambda c: (c.size_bytes or 0, c.name))
    best = next((c for c in by_size if c.outcome == "pass"), None)
    limit = best.size_bytes if best else None
    open_ones = [
        c for c in by_size if c.outcome == "inconclusive" and (limit is None or (c.size_bytes or 0) < limit)
    ]
    return best, open_ones
