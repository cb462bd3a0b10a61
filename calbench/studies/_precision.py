"""What each precision costs: size, time, and how far a model's answers and its calibration move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy

from calbench import models, quantizers, tasks
from calbench.errors import BackendUnavailableError, CalbenchError, as_refusal
from calbench.gates import Comparison, takes_confidences
from calbench.metrics import precision_split
from calbench.models import ModelSource
from calbench.records import Float64, Predictions
from calbench.runs import Cell, Runner, unreported
from calbench.statistics import Estimate, Resamples, percentile_interval
from calbench.store import StoredPredictions
from calbench.tasks import normal_form

RAW = "identity"


@dataclass(frozen=True)
class PrecisionRow:
    """One model at one precision on one task.

    Parameters
    ----------
    model, task, quantizer
        Ids.
    n_test
        Items that every number below is of.
    records
        Keys of the records, ``reference`` and ``candidate``.
    quantization
        The stored report, see :class:`calbench.quantizers.QuantizationReport`.
    logit_change
        Mean of ``|Δlogit|`` over items and classes, against the reference; None for open questions.
    kl_divergence
        Mean KL(reference ‖ quantized), in nats; None for open questions.
    flip_rate
        Share of items whose predicted class, or answer in words, differs from the reference's.
    accuracy, ece
        Of the model as it is.
    chance
        Accuracy without reading the items: of the commonest label, or of guessing if that is higher.
    notes
        What a reader of the numbers must know.
    calibrated
        For each calibrator the metrics of ``transferred`` (fitted on the reference, used here),
        ``refitted`` (fitted here), and their ``degradation``.
    """

    model: str
    task: str
    quantizer: str
    n_test: int
    records: dict[str, str]
    quantization: dict[str, Any] = field(repr=False)
    logit_change: float | None
    kl_divergence: Estimate | None
    flip_rate: float
    accuracy: Estimate
    ece: Estimate
    chance: float
    notes: tuple[str, ...] = ()
    calibrated: dict[str, dict[str, dict[str, Estimate]]] = field(default_factory=dict)

    @property
    def at_chance(self) -> bool:
        """Whether the accuracy is not shown to be above :attr:`chance`.

        The ECE of such a model measures how sure it is of guesses.
        """
        return self.accuracy.interval[0] <= self.chance


@dataclass(frozen=True)
class MissingRow:
    """A cell without numbers, and why: ``skipped`` if its backend is not here, else refused."""

    model: str
    task: str
    quantizer: str
    reason: str
    skipped: bool


def refusals(cells: Sequence[Cell]) -> dict[tuple[str, str], CalbenchError]:
    """Find out, before any weights are read, which (model, quantizer) pairs cannot work, and why."""
    sources = {name: _resolved(name) for name in dict.fromkeys(cell.model for cell in cells)}
    pairs = dict.fromkeys((c.model, c.quantizer) for c in cells)
    found = {(model, quantizer): _refusal(quantizer, sources[model]) for model, quantizer in pairs}
    return {pair: problem for pair, problem in found.items() if problem is not None}


def _resolved(model: str) -> ModelSource | CalbenchError:
    try:
        source = models.get(model)
        return source if source.builds else source.resolve()
    except Exception as error:  # noqa: BLE001 (it ends this model's cells, and no other)
        return as_refusal(f"model {model!r}", error)


def _refusal(quantizer: str, source: ModelSource | CalbenchError) -> CalbenchError | None:
    if isinstance(source, CalbenchError) or source.builds:
        return source if isinstance(source, CalbenchError) else None
    try:
        quantizers.check_fits(quantizers.get(quantizer), source)
    except Exception as error:  # noqa: BLE001 (it ends the cells of this pair, and no other)
        return as_refusal(f"{source.id} × {quantizer}", error)
    return None


def precision_rows(
    runner: Runner, cells: Sequence[Cell], *, calibrators: Sequence[str] = (), seed: int
) -> Iterator[PrecisionRow | MissingRow]:
    """Yield one row per model, task and quantizer, running models only where no record answers.

    Parameters
    ----------
    runner
        Gives the records.
    cells
        What to show; their calibrators do not matter.
    calibrators
        Ids of calibrators to fit besides; on open questions, those that take confidences alone.
    seed
        Of the division into calibration and test items.
    """
    problems = refusals(cells)
    for model, task, quantizer in dict.fromkeys((c.model, c.task, c.quantizer) for c in cells):
        problem = problems.get((model, quantizer))
        if problem is None:
            try:
                yield _row(runner, model, task, quantizer, calibrators, seed)
                continue
            except Exception as error:  # noqa: BLE001 (it ends this cell, and no other)
                problem = as_refusal(f"{model} × {quantizer} × {task}", error)
        yield MissingRow(model, task, quantizer, str(problem), isinstance(problem, BackendUnavailableError))


def place(row: PrecisionRow | MissingRow) -> tuple[str, str, float, str]:
    """Key that sorts rows by model and task, and then from many bits to few."""
    bits = 0.0 if isinstance(row, MissingRow) else row.quantization["effective_bits"] or 0.0
    return row.model, row.task, -bits, row.quantizer


def _row(
    runner: Runner, model: str, task: str, quantizer: str, calibrators: Sequence[str], seed: int
) -> PrecisionRow:
    measured = runner.transfer(Cell(model, task, quantizer, RAW), seed=seed)
    compared = measured.comparison
    records = measured.candidate, measured.reference
    is_open = isinstance(tasks.get(task), tasks.Generation)
    return PrecisionRow(
        model,
        task,
        quantizer,
        n_test=compared.n_test,
        records={"reference": measured.reference.key, "candidate": measured.candidate.key},
        quantization=dict(measured.candidate.provenance["quantization"]),
        **(_open_drift if is_open else _drift)(*records, compared),
        accuracy=compared.estimate("accuracy", arm="raw_candidate"),
        ece=compared.estimate("ece", arm="raw_candidate"),
        notes=tuple(filter(None, [unreported(measured.candidate)])),
        calibrated={
            name: _calibrated(runner.transfer(Cell(model, task, quantizer, name), seed=seed).comparison)
            for name in calibrators
            if not is_open or takes_confidences(name)
        },
    )


def _drift(
    reference: StoredPredictions, candidate: StoredPredictions, compared: Comparison
) -> dict[str, Any]:
    resamples = compared.arm("raw_candidate").resamples
    here, there = (record.class_vectors.take(resamples.item_ids) for record in (candidate, reference))
    return {
        "logit_change": mean_logit_change(there, here),
        "kl_divergence": kl_estimate(there, here, resamples, compared.level),
        "flip_rate": precision_split(there, here).flip_rate,
        "chance": chance_accuracy(there),
    }


def _open_drift(
    reference: StoredPredictions, candidate: StoredPredictions, compared: Comparison
) -> dict[str, Any]:
    """Return what is known of answers in words: no other answer has a probability to compare."""
    here, there = (record.predictions.metadata["answers"] for record in (candidate, reference))
    ids = compared.arm("raw_candidate").resamples.item_ids
    return {
        "logit_change": None,
        "kl_divergence": None,
        "flip_rate": sum(normal_form(here[i]) != normal_form(there[i]) for i in ids) / len(ids),
        "chance": float(reference.predictions.metadata["chance"]),
    }


def _calibrated(compared: Comparison) -> dict[str, dict[str, Estimate]]:
    def estimates(arm: str) -> dict[str, Estimate]:
        return {name: compared.estimate(name, arm=arm) for name in compared.metrics}

    lost = {name: compared.contrast("degradation", name) for name in compared.metrics}
    return {
        "transferred": estimates("transferred"),
        "refitted": estimates("refitted"),
        "degradation": {m: Estimate(c.value, c.interval, c.level, c.n) for m, c in lost.items()},
    }


def chance_accuracy(record: Predictions) -> float:
    """Return the best accuracy that needs no item to be read.

    That of always giving the commonest label, or of guessing among each item's options.

    >>> chance_accuracy(Predictions(["a", "b", "c"], [[0.0, 1.0]] * 3, [1, 1, 0]))
    0.6666666666666666
    """
    commonest = np.bincount(record.labels).max() / len(record)
    guessing = float(np.mean(1 / np.isfinite(record.logits).sum(axis=1)))
    return max(float(commonest), guessing)


def mean_logit_change(reference: Predictions, candidate: Predictions) -> float:
    """Mean of ``|Δlogit|`` over the same items and their options; padding left out.

    >>> a, b = (Predictions(["x"], [logits], [0]) for logits in ([1.0, 2.0], [1.5, 1.0]))
    >>> mean_logit_change(a, b)
    0.75
    """
    real = np.isfinite(reference.logits) & np.isfinite(candidate.logits)
    difference = candidate.logits[real].astype(np.float64) - reference.logits[real]
    return float(np.abs(difference).mean())


def kl_items(reference: Predictions, candidate: Predictions) -> Float64:
    """KL(reference ‖ candidate) of each item, in nats, ``(n,)``."""
    smallest = np.finfo(np.float64).tiny
    terms = scipy.special.rel_entr(reference.probs, np.maximum(candidate.probs, smallest))
    return np.asarray(np.maximum(terms.sum(axis=1), 0.0))


def kl_estimate(
    reference: Predictions, candidate: Predictions, resamples: Resamples, level: float
) -> Estimate:
    """Mean KL(reference ‖ candidate) with its percentile interval; all in the resamples' order."""
    items = kl_items(reference, candidate)
    values = (items @ resamples.counts) / resamples.totals
    return Estimate(float(items.mean()), percentile_interval(values, level), level)
