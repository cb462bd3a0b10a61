"""One record: a loaded model is asked, and its answers are stored with how they came about."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from calbench import devices
from calbench.errors import UnanswerableError
from calbench.inference import ENGINE, check_device, generate, label_tokens
from calbench.models import ModelSource
from calbench.records import Predictions, TopLabelPredictions
from calbench.runtimes import Runtime, TorchRuntime
from calbench.store import ShardFolder, Store, StoredPredictions
from calbench.tasks import (
    Generation,
    HarnessChoice,
    HarnessGeneration,
    LabelledItem,
    SequenceClassification,
    Task,
    clusters_of,
    near_duplicates,
)

_MANY = 0.05  # share of items from which on intervals are noticeably too narrow
# In float32, of the largest logit where that is above 1; see docs/tasks.md.
NOISE_PROMISED = 1e-4
_SHOWN_FLOOR = 1e-3  # a twentieth of the default margin


class Reported(Protocol):
    """A model that was loaded or is served, and what is known of how it came about."""

    @property
    def report(self) -> Any:
        """Has ``to_dict()``, plain JSON."""
        ...


@dataclass(frozen=True, eq=False)
class InferenceRun:
    """A task's items, and the model that is to be asked.

    Parameters
    ----------
    source, tokenizer
        The full-precision model's, also where a quantized or tuned one is asked.
    task
        How the items are asked.
    items
        What is asked.
    """

    source: ModelSource
    tokenizer: Any
    task: Task
    items: Sequence[LabelledItem]

    def check(self) -> None:
        """Raise :class:`InputError` if label words are not a token each: it takes no weights to tell."""
        if isinstance(self.task, SequenceClassification):
            label_tokens(self.tokenizer, self.task.request(self.source), self.items)

    def ask(
        self,
        loaded: Reported,
        store: Store,
        identity: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any],
        step: AbstractContextManager[Callable[[int], None]],
        runtime: Runtime | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> StoredPredictions:
        """Ask a loaded model every item, and store the answers.

        What an earlier run of the same identity finished is used.

        Parameters
        ----------
        loaded
            The model that answers.
        store, identity
            Where the record goes, and all that could change it.
        metadata
            Names that the predictions carry.
        step
            Shows the work while it is done; what it gives is called with the number of items done.
        runtime
            What asks it; torch, in this process, if left out.
        provenance
            What is noted beside the measurements of this run.

        Raises
        ------
        InputError
            The model lies on another device than the identity says, or cannot be asked in this way.
        """
        if runtime is None:
            module = getattr(loaded, "module", None)
            check_device(module)
            runtime = TorchRuntime(module, self.tokenizer, self.source)
        started = time.perf_counter()
        with step as advance:
            predictions, counted = self._answers(runtime, store.shards(identity), advance)
        seconds = time.perf_counter() - started
        noted = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "items_per_second": round(len(self.items) / seconds, 2),
            **counted,
            "n_duplicates_dropped": self.task.dataset.n_duplicates,
            "n_near_duplicates": n_near_duplicates(self.items),
            "baseline": self.source.baseline,
            "machine": _machine(runtime),
            "quantization": loaded.report.to_dict(),
            **runtime.notes(),
        }
        named = described(predictions.with_metadata({**predictions.metadata, **metadata}), self.items)
        return store.put(identity, named, {**noted, **(provenance or {})})

    def _answers(
        self, runtime: Runtime, shards: ShardFolder, advance: Callable[[int], None]
    ) -> tuple[Predictions | TopLabelPredictions, dict[str, Any]]:
        """Return what the model says about every item, and what is to be noted about how."""
        if isinstance(self.task, Generation):
            if not isinstance(runtime, TorchRuntime):
                raise UnanswerableError(
                    f"the questions of {self.task.id!r} are open, and {runtime.name} is asked for the"
                    " probabilities of given answers alone; choose a task with classes or options"
                )
            return self._written(self.task, runtime.module, shards, advance)
        request = self.task.request(self.source)
        scored = runtime.score(request, self.items, shards=shards, on_progress=advance)
        logits, more = scored.logits, dict[str, Any]()
        if isinstance(self.task, HarnessChoice):
            more = {"harness_metrics": self.task.metrics(self.items, logits)}
            logits = self.task.logits(self.items, logits)
        predictions = Predictions(
            [item.id for item in self.items],
            logits,
            [item.label for item in self.items],
            {"classes": list(self.task.classes)},
        )
        return predictions, {
            "n_truncated": scored.n_truncated,
            "n_asked": scored.n_asked,
            "n_shards": scored.n_shards,
            "n_shards_reused": scored.n_reused,
            "engine": scored.engine,
            "noise_floor": scored.noise_floor,
            "confidence_floor": scored.confidence_floor,
            **more,
        }

    def _written(
        self, task: Generation, module: Any, shards: ShardFolder, advance: Callable[[int], None]
    ) -> tuple[TopLabelPredictions, dict[str, Any]]:
        """Return the answers to open questions; no batch can change one, so there is no noise."""
        request = task.request(self.source)
        made = generate(
            module, self.tokenizer, self.source, request, self.items, shards=shards, on_progress=advance
        )
        return made.predictions, {
            "n_truncated": made.n_truncated,
            "n_unreported": made.n_unreported,
            "n_asked": len(self.items),
            "n_shards": made.n_shards,
            "n_shards_reused": made.n_reused,
            "engine": ENGINE,
            "noise_floor": 0.0,
            **(
                {"harness_metrics": task.metrics(self.items, made.answers)}
                if isinstance(task, HarnessGeneration)
                else {}
            ),
        }


def described(
    predictions: Predictions | TopLabelPredictions, items: Sequence[LabelledItem]
) -> Predictions | TopLabelPredictions:
    """Add what is known of the items: their clusters, and how many people gave each class.

    No answer of a model depends on it, so it is no part of a record's key and is taken from the task.
    """
    of = {item.id: item for item in items}
    rows = [of[name] for name in predictions.item_ids.tolist()]
    clusters, shares = clusters_of(rows), [item.distribution for item in rows]
    return predictions.described(
        None if clusters is None else clusters.values(),
        None if None in shares else _padded(shares, predictions),
    )


def _padded(shares: Sequence[Any], predictions: Any) -> list[list[float]]:
    """Give options that an item has not the share 0."""
    width = predictions.n_classes if isinstance(predictions, Predictions) else 0
    return [[*row, *[0.0] * (width - len(row))] for row in shares]


def _machine(runtime: Runtime) -> dict[str, Any]:
    named: dict[str, Any] = {"processor": platform.machine(), "cores": os.cpu_count()}
    if isinstance(runtime, TorchRuntime) and (cards := devices.card_names(runtime.module)):
        named["gpus"] = cards
    return named


def n_near_duplicates(items: Sequence[LabelledItem]) -> int:
    """Return how many items say nearly what an earlier one of another cluster says."""
    firsts = near_duplicates([item.content for item in items])
    clusters = clusters_of(items) or {item.id: item.id for item in items}
    return sum(
        first != place and clusters[items[first].id] != clusters[items[place].id]
        for place, first in enumerate(firsts)
    )


def similar(record: StoredPredictions) -> str:
    """Say how many items are nearly the same as others, and what keeps them together; ``""`` if few are."""
    n_similar = record.provenance.get("n_near_duplicates", 0)
    if n_similar < _MANY * len(record.predictions):
        return ""
    return (
        f"{n_similar:,} of {len(record.predictions):,} items say nearly what another says, and count as drawn"
        ' by themselves; cluster = "near-duplicates" in the task keeps such items together'
    )


def unreported(record: StoredPredictions) -> str:
    """Say how many confidences are missing and count as 0; ``""`` if none."""
    n_unreported = record.provenance.get("n_unreported", 0)
    if not n_unreported:
        return ""
    return f"{n_unreported:,} of {len(record.predictions):,} answers came without a confidence and count as 0"


def least_margin(record: StoredPredictions) -> str:
    """Say below which margin a gate on this record claims nothing, where asking twice shows; or ``""``."""
    moved = record.provenance.get("confidence_floor") or 0.0
    if moved < _SHOWN_FLOOR:
        return ""
    return (
        f"asking items again moves their confidence by {moved:.2g} on average: a calibration error's margin"
        " below that claims nothing"
    )


def noisy(record: StoredPredictions) -> str:
    """Say how far batches move a float32 model's logits, where that is more than promised; or ``""``."""
    kernel = record.provenance.get("quantization", {}).get("kernel", "")
    floor = record.provenance.get("noise_floor") or 0.0
    if "float32" not in kernel or not isinstance(record.predictions, Predictions):
        return ""
    logits = record.predictions.logits
    largest = max(1.0, float(abs(logits[logits > -math.inf]).max()))
    if floor <= NOISE_PROMISED * largest:
        return ""
    return f"asking items alone moves a logit by up to {floor:.2g}; smaller differences are no finding"


# What may have to be said of a record.
NOTES = (unreported, noisy, least_margin)
