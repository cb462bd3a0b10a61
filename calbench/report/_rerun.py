"""A few items of every stored record asked again: that records are what the model said."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from calbench import tasks
from calbench.errors import CalbenchError, CorruptRecordError
from calbench.escaping import plain_json
from calbench.records import AnyRecord, Predictions, TopLabelPredictions
from calbench.report._evidence import read_evidence
from calbench.report._verification import Finding
from calbench.runs import NOISE_PROMISED, PROFILES, Progress, Runner, Silence
from calbench.store import Store, StoredPredictions, other_parts

# A record's noise is that of a few items asked alone; the largest of other items lies above it.
_NOISE_MARGIN = 4.0
# Where activations are rounded too, another batch moves one over a step now and then (int8: 0.004 of 2.4).
_ROUNDED = 1e-2


def rerun(
    folder: str | PathLike[str], store: Store, n_items: int, *, progress: Progress | None = None
) -> Iterator[Finding]:
    """Ask the models of a report again, and compare with what is stored.

    Each model is loaded, and quantized, anew. Its identity must be that of the record but for which items
    were asked, its answers the same, and its logits within the tolerance: four times the record's noise
    floor (how far batches move a logit), or 1e-4 of the largest logit where that is more; 1e-2 of it where
    the kernel does not compute in float32, since a rounding step is taken or not.

    Parameters
    ----------
    folder
        Of the report, with ``evidence.json``.
    store
        Where the records are.
    n_items
        How many items of each record, spread evenly over it.
    progress
        Is told what is loaded and asked.
    """
    said = read_evidence(Path(folder))
    with TemporaryDirectory(prefix="calbench-rerun-") as temporary:
        runner = Runner(Store.at(temporary), PROFILES["full"], progress=progress or Silence())
        for key, identity in said["records"].items():
            if "model" not in identity:
                yield Finding(
                    "open", f"record {key[:12]}", "it came from elsewhere; who made it can ask again"
                )
                continue
            try:
                found = store.read(key)
            except CorruptRecordError:
                continue  # the check of its hash says so
            what = f"record {key[:12]} asked again"
            if found is None:
                yield Finding("missing", what, "without the record there is nothing to compare with")
                continue
            try:
                yield _asked_again(runner, found, n_items, what)
            except CalbenchError as error:
                yield Finding("open", what, str(error))


def _asked_again(runner: Runner, stored: StoredPredictions, n_items: int, what: str) -> Finding:
    model, task, quantizer = (
        str(stored.predictions.metadata.get(part, "")) for part in ("model", "task", "quantizer")
    )
    what = f"{model}::{task}::{quantizer}: {what}"
    ids = set(stored.predictions.item_ids.tolist())
    at = [i for i, item in enumerate(tasks.get(task).partition.evaluation) if item.id in ids]
    if len(at) < len(ids):
        return Finding("differs", what, f"{len(ids) - len(at)} of its items are not in the task")
    span = (at[0], at[-1] + 1, max(1, len(at) // n_items))
    here = plain_json(runner.identity(model, quantizer, task, span=span))
    if apart := [n + v for n, v in other_parts(stored.identity, here).items() if n != "task.items"]:
        return Finding("open", what, f"what is here has another {', '.join(apart)}; ask where it is the same")
    again = runner.record(model, quantizer, task, span=span).predictions
    return Finding("differs" if (why := _difference(stored, again)) else "same", what, why)


def _difference(stored: StoredPredictions, again: AnyRecord) -> str:
    """Say how what a model says now differs from what is stored; ``""`` if it is the same."""
    ids = again.item_ids.tolist()
    before = stored.predictions.take(ids)
    floor = _NOISE_MARGIN * float(stored.provenance.get("noise_floor") or 0.0)
    kernel = str(stored.provenance.get("quantization", {}).get("kernel", ""))
    share = NOISE_PROMISED if "float32" in kernel and "rounded" not in kernel else _ROUNDED
    if isinstance(before, TopLabelPredictions) or isinstance(again, TopLabelPredictions):
        apart, tolerance = np.abs(before.confidences - again.confidences), max(floor, share)
    else:
        known = np.isfinite(before.logits) & np.isfinite(again.logits)
        if (known != np.isfinite(again.logits)).any() or (known != np.isfinite(before.logits)).any():
            return "other options have a probability of 0"
        apart = np.abs(np.where(known, before.logits, 0.0) - np.where(known, again.logits, 0.0)).max(axis=1)
        tolerance = max(floor, share * max(1.0, float(np.abs(before.logits[known]).max())))
    moved, turned = apart > tolerance, before.correct != again.correct
    if not (moved | turned).any():
        return ""
    kind = "logits" if isinstance(before, Predictions) else "confidences"
    return (
        f"{kind} of {moved.sum()} of {len(ids)} items moved by more than {tolerance:.2g}, at most by"
        f" {float(apart.max()):.2g}, and {turned.sum()} turned right or wrong;"
        f" the first is {ids[int((moved | turned).argmax())]}"
    )
