"""One record: a loaded model is asked, and its answers are stored with how they came about."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from calbench.inference import score
from calbench.inference.methods import check_device
from calbench.models import ModelSource
from calbench.predictions import Predictions
from calbench.quantizers import QuantizedModel
from calbench.store import Record, Store
from calbench.tasks import LabelledItem, Task


@dataclass(frozen=True, eq=False)
class Asking:
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

    def ask(
        self,
        loaded: QuantizedModel,
        store: Store,
        identity: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any],
        step: AbstractContextManager[Callable[[int], None]],
        provenance: Mapping[str, Any] | None = None,
    ) -> Record:
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
        provenance
            What is noted beside the measurements of this run.

        Raises
        ------
        InputError
            The model lies on another device than the identity says, or cannot be asked in this way.
        """
        check_device(loaded.module)
        started = time.perf_counter()
        with step as advance:
            scored = score(
                loaded.module,
                self.tokenizer,
                self.source,
                self.task.request(self.source),
                self.items,
                shards=store.shards(identity),
                on_progress=advance,
            )
        seconds = time.perf_counter() - started
        predictions = Predictions(
            [item.id for item in self.items],
            scored.logits,
            [item.label for item in self.items],
            {**metadata, "classes": list(self.task.classes)},
        )
        noted = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "items_per_second": round(len(self.items) / seconds, 2),
            "n_truncated": scored.n_truncated,
            "n_asked": scored.n_asked,
            "n_shards": scored.n_shards,
            "n_shards_reused": scored.n_reused,
            "engine": scored.engine,
            "noise_floor": scored.noise_floor,
            "n_duplicates_dropped": self.task.dataset.n_duplicates,
            "baseline": self.source.baseline,
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "quantization": loaded.report.to_dict(),
        }
        return store.put(identity, predictions, {**noted, **(provenance or {})})
