"""Records of different items as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.records._predictions import AnyRecord, Predictions, TopLabelPredictions


def one_record(parts: Sequence[AnyRecord]) -> AnyRecord:
    """Return records of different items of one task as one, with the first one's metadata.

    Raises
    ------
    InputError
        They are not of one kind, an item is in two of them, or they name clusters.
    """
    first = parts[0]
    if any(part.cluster_ids is not None for part in parts):
        raise InputError("records that name clusters are not joined; ask all items of a cluster at once")
    ids = np.concatenate([part.item_ids for part in parts])
    if isinstance(first, Predictions):
        vectors = [part for part in parts if isinstance(part, Predictions)]
        if len(vectors) == len(parts):
            logits = _stacked([part.logits for part in vectors], -np.inf)
            labels = np.concatenate([part.labels for part in vectors])
            joined = Predictions(ids, logits, labels, first.metadata)
            counted = [part.label_distribution for part in vectors if part.label_distribution is not None]
            # Of some items alone it says nothing about all of them.
            return joined.described(None, _stacked(counted, 0.0)) if len(counted) == len(parts) else joined
    tops = [part for part in parts if isinstance(part, TopLabelPredictions)]
    if len(tops) != len(parts):
        raise InputError("some records hold class vectors and others the top answer only; ask all in one way")
    confidences, correct = (
        np.concatenate([getattr(part, name) for part in tops]) for name in ("confidences", "correct")
    )
    return TopLabelPredictions(ids, confidences, correct, first.metadata)


def _stacked(parts: Sequence[npt.NDArray[Any]], filler: float) -> npt.NDArray[Any]:
    """Rows ``(n_i, k_i)`` below each other, filled up to the widest."""
    width = max(part.shape[1] for part in parts)
    return np.vstack(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=filler) for part in parts]
    )
