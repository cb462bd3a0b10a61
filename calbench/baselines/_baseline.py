"""What is accepted of a cell, and whether a later result can be compared with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.errors import BaselineRefusedError
from calbench.metrics import Outcomes, evaluate, get
from calbench.records import TopLabelPredictions
from calbench.runs import Measured
from calbench.store import StoredPredictions

# What each item's confidence and correctness are enough for.
METRICS = ("accuracy", "brier_toplabel", "ece")
MAX_SHOWN = 40


@dataclass(frozen=True, eq=False)
class Baseline:
    """One cell's result with a transferred calibrator, and each test item's answer.

    Attributes
    ----------
    suite
        Name of the test module.
    cell
        Ids of the model, the task, the quantizer and the calibrator.
    answers
        Confidence (to float32) and correctness of each test item.
    items
        How many items there are of each split, and a hash over their ids and labels.
    metrics
        Value and fingerprint of each metric.
    scoring
        How the model was asked.
    settings
        Profile and seed.
    records
        Keys of the predictions that it was computed from.
    identity
        What the candidate's key was made of, by dotted path: weights, tokenizer, items, versions, ...
    """

    suite: str
    cell: Mapping[str, str]
    answers: TopLabelPredictions
    items: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    scoring: Mapping[str, Any]
    settings: Mapping[str, Any]
    records: Mapping[str, str]
    identity: Mapping[str, Any]

    @property
    def rows(self) -> Outcomes:
        """The answers in the order of the sorted item ids."""
        return Outcomes.from_record(self.answers)


def snapshot(measured: Measured, *, suite: str, profile: str, metrics: Iterable[str] = ()) -> Baseline:
    """Return what would be accepted of a cell's result today.

    Parameters
    ----------
    measured
        The cell's result.
    suite
        Name of the test module.
    profile
        Name of the profile that it was measured with.
    metrics
        Ids to keep besides ``accuracy``, ``brier_toplabel`` and ``ece``.

    Raises
    ------
    InputError
        A metric needs more than the confidence and correctness of each answer.
    """
    arm = measured.comparison.arm("transferred")
    ids = arm.resamples.item_ids
    # Kept as float32; what is compared is what is kept, so that the same answers differ by nothing.
    confidences = arm.outcomes.confidences.astype(np.float32).astype(np.float64)
    answers = TopLabelPredictions(ids, confidences, arm.outcomes.correct)
    items = Outcomes.from_record(answers)
    predictions = measured.candidate.predictions
    calibration = sorted(set(predictions.item_ids.tolist()) - set(ids.tolist()))
    cell = measured.cell
    return Baseline(
        suite=suite,
        cell={
            "model": cell.model,
            "task": cell.task,
            "quantizer": cell.quantizer,
            "calibrator": cell.calibrator,
        },
        answers=answers,
        items={
            "n_test": len(ids),
            "n_calibration": len(calibration),
            "test_sha256": predictions.take(ids).items_hash,
            "calibration_sha256": predictions.take(calibration).items_hash if calibration else "",
        },
        metrics={
            name: {"value": round(evaluate(name, items), 6), "fingerprint": get(name).fingerprint}
            for name in sorted({*METRICS, *metrics})
        },
        scoring=dict(sorted(_scoring(measured.candidate).items())),
        settings={"profile": profile, "seed": measured.seed},
        records={"reference": measured.reference.key, "candidate": measured.candidate.key},
        identity=dict(sorted(_flat(measured.candidate.identity))),
    )


def check_comparable(accepted: Baseline, today: Baseline, *, metric: str) -> None:
    """Raise unless a metric of today's result can be compared with what was accepted.

    Raises
    ------
    BaselineRefusedError
        Another cell, other items, bins or scoring; the message says which.
    """
    if accepted.cell != today.cell:
        raise BaselineRefusedError(f"it is of another cell: {', '.join(accepted.cell.values())}")
    _check_items(accepted, today)
    if _plain(accepted.scoring) != _plain(today.scoring):
        odd = sorted(
            name
            for name in {*accepted.scoring, *today.scoring}
            if _plain(accepted.scoring.get(name)) != _plain(today.scoring.get(name))
        )
        raise BaselineRefusedError(
            f"its model was asked in another way (scoring differs in {', '.join(odd)})"
        )
    kept = accepted.metrics.get(metric)
    if kept is None:
        raise BaselineRefusedError(f"it holds {', '.join(accepted.metrics)}, not {metric}")
    now, before = _plain(get(metric).fingerprint), _plain(kept["fingerprint"])
    if now != before:
        odd = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
        shown = ", ".join(f"{name}: {before.get(name)} then, {now.get(name)} now" for name in odd)
        raise BaselineRefusedError(f"its {metric} was defined differently ({shown})")


def _scoring(record: StoredPredictions) -> Mapping[str, Any]:
    """How the model was asked; of a record from elsewhere, what it says of that."""
    if "task" in record.identity:
        request: Mapping[str, Any] = record.identity["task"]["request"]
        return request
    said = record.predictions.metadata
    return {"imported": True, **{name: said[name] for name in ("scoring", "confidence") if name in said}}


def _flat(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings, by its dotted path."""
    if isinstance(part, Mapping):
        for name, value in part.items():
            yield from _flat(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, _plain(part)


def changes(accepted: Baseline, today: Baseline) -> list[str]:
    """Return what the two candidates' records do not share, as ``"versions.torch: 2.12.0 -> 2.13.0"``.

    Empty if it is one and the same record.
    """
    names = sorted({*accepted.identity, *today.identity})
    return [
        f"{name}: {_shown(accepted.identity.get(name))} -> {_shown(today.identity.get(name))}"
        for name in names
        if accepted.identity.get(name) != today.identity.get(name)
    ]


def _shown(value: Any) -> str:
    """A value in a sentence: hashes are long, and prompts too."""
    text = "none" if value is None else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _check_items(accepted: Baseline, today: Baseline) -> None:
    for part in ("test", "calibration"):
        if accepted.items[f"{part}_sha256"] == today.items[f"{part}_sha256"]:
            continue
        before, now = (b.items[f"n_{part}"] for b in (accepted, today))
        settings = "; ".join(
            f"{name} was {accepted.settings[name]!r} and is {today.settings[name]!r}"
            for name in ("profile", "seed")
            if accepted.settings[name] != today.settings[name]
        )
        why = settings or "the data changed"
        raise BaselineRefusedError(
            f"it was made with other {part} items ({before:,} then, {now:,} now; {why})"
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON would give it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
