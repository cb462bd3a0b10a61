"""What an adapter is trained on and watched with; never what is scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError, LeakageError
from calbench.tasks import LabelledItem, hash_items, normalized


@dataclass(frozen=True)
class TrainingData:
    """Disjoint items: trained on, and watched for early stopping.

    Parameters
    ----------
    training
        What the adapter learns from.
    watched
        Items of the calibration split, on which it is decided when to stop.
    """

    training: tuple[LabelledItem, ...]
    watched: tuple[LabelledItem, ...]

    @classmethod
    def of(
        cls,
        training: Sequence[LabelledItem],
        *,
        calibration: Sequence[LabelledItem],
        test: Iterable[LabelledItem],
    ) -> TrainingData:
        """Check that nothing which will be scored is trained on or watched.

        Raises
        ------
        LeakageError
            An item of the test split, or its text under another id, is among them; or the training
            and calibration items overlap.
        InputError
            One of the two is empty.
        """
        if not training or not calibration:
            which = "training" if not training else "calibration"
            raise InputError(
                f"there are no {which} items; set some aside with the task's n_training, or choose a profile"
                " that does not ask all of the task's items"
            )
        scored = list(test)
        _refuse_overlap(training, "trained on", scored, "scored")
        _refuse_overlap(calibration, "watched for early stopping", scored, "scored")
        _refuse_overlap(training, "trained on", calibration, "watched for early stopping")
        return cls(tuple(training), tuple(calibration))

    def identity(self) -> dict[str, str]:
        """Return hashes of both parts, in order."""
        return {"training": hash_items(self.training), "watched": hash_items(self.watched)}

    def order(self, seed: int, epoch: int) -> npt.NDArray[np.intp]:
        """Return the order of the training items in an epoch: a function of its arguments alone."""
        permutation: npt.NDArray[np.intp] = np.random.default_rng([seed, epoch]).permutation(
            len(self.training)
        )
        return permutation

    def rows(self, seed: int, step: int, batch_size: int) -> npt.NDArray[np.intp]:
        """Return which training items a step, counted from 0, reads."""
        per_epoch = -(-len(self.training) // batch_size)
        epoch, place = divmod(step, per_epoch)
        return self.order(seed, epoch)[place * batch_size : (place + 1) * batch_size]


def _refuse_overlap(
    ours: Sequence[LabelledItem], how: str, theirs: Sequence[LabelledItem], purpose: str
) -> None:
    ids, texts = {item.id for item in theirs}, {normalized(item.content): item.id for item in theirs}
    shared = [item.id for item in ours if item.id in ids]
    if shared:
        raise LeakageError(
            f"{len(shared)} items would be both {how} and {purpose}, {min(shared)!r} first; take them out of"
            " one of the two"
        )
    for item in ours:
        twin = texts.get(normalized(item.content))
        if twin is not None:
            raise LeakageError(
                f"item {item.id!r}, which would be {how}, has the text of {twin!r}, which is {purpose};"
                " drop one of them"
            )
