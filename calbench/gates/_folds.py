"""Cross-fitting: every item is scored once, by a calibrator that was fitted on the other folds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbench import calibrators
from calbench.calibrators import Calibrator, FittedCalibrator
from calbench.errors import InputError
from calbench.gates._fitted_split import Arm, FittedSplit, metrics_of
from calbench.records import AnyRecord, Float64, Predictions
from calbench.seeds import SEED
from calbench.statistics import Resamples

MOST_FOLDS = 20


def fold_of(name: str, folds: int, seed: int = SEED) -> int:
    """Return the fold of an item, or of a cluster, by a hash of its id: other items never move it.

    >>> [fold_of(name, 5) for name in "abcdef"]
    [0, 3, 2, 2, 3, 1]
    """
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big") % folds


@dataclass(frozen=True)
class FoldedFit:
    """The fit on all items, which is what is shipped, and those on all but each fold, which are scored."""

    whole: FittedCalibrator
    parts: tuple[FittedCalibrator, ...]

    @property
    def n_parameters(self) -> int:
        """How many numbers the whole fit learned."""
        return self.whole.n_parameters

    @property
    def size_bytes(self) -> int:
        """What the whole fit stores."""
        return self.whole.size_bytes

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the whole fit."""
        return self.whole.warnings

    def __call__(self, logits: npt.ArrayLike) -> Float64:
        """Return the whole fit's probabilities."""
        return self.whole(logits)

    def at(self, epsilon: float | None) -> FoldedFit:
        """Return the fits as they apply to a model of another precision."""
        return FoldedFit(self.whole.at(epsilon), tuple(part.at(epsilon) for part in self.parts))

    def to_dict(self) -> dict[str, Any]:
        """Return the whole fit as plain JSON."""
        return self.whole.to_dict()


@dataclass(frozen=True, eq=False)
class CrossFitted(FittedSplit):
    """One model at one precision, all of whose items are both fitted on and scored, in different folds.

    Parameters
    ----------
    folds
        The fold of each test item, from 0 and in their order, ``(n,)``.
    """

    folds: npt.NDArray[np.intp] = ()  # type: ignore[assignment]

    @classmethod
    def divided(
        cls,
        record: AnyRecord,
        folds: int,
        *,
        resamples: Resamples,
        seed: int = SEED,
        clusters: Mapping[str, str] | None = None,
        metrics: Sequence[str] | None = None,
        epsilon: float | None = None,
    ) -> CrossFitted:
        """Divide a record into folds, whole clusters together.

        Raises
        ------
        InputError
            There are fewer than two folds, or one of them would be empty.
        """
        ids = sorted(record.item_ids.tolist())
        asked = folds if 2 <= folds <= MOST_FOLDS else 1
        of = np.array([fold_of(clusters[item] if clusters else item, asked, seed) for item in ids])
        if asked == 1 or len(set(of.tolist())) < folds:
            what = f"{len(set(clusters.values()))} clusters" if clusters else f"{len(ids)} items"
            raise InputError(
                f"folds={folds} does not divide {what}; give 2 to {MOST_FOLDS}, and fewer than there are"
            )
        return cls(
            None,
            record.take(ids),
            metrics_of(record) if metrics is None else tuple(metrics),
            resamples,
            epsilon,
            seed,
            folds=of,
        )

    @property
    def n_calibration(self) -> int:
        """How many items the shipped calibrator is fitted on: all of them."""
        return len(self.test)

    @property
    def n_folds(self) -> int:
        """In how many folds calibrators are fitted."""
        return int(self.folds.max()) + 1

    def applied(self, fitted: Any) -> Arm:
        """Return each fold's items with the fit on the others; raises for a fit that has no folds."""
        test = self.test
        scores = test.logits if isinstance(test, Predictions) else test.confidences
        probs = np.empty(scores.shape)
        for fold, part in enumerate(fitted.parts):
            rows = self.folds == fold
            probs[rows] = (part if isinstance(test, Predictions) else part.confidences)(scores[rows])
        return self._arm(probs, fitted)

    def _fit(self, name: str, method: Calibrator) -> FoldedFit:
        def on(record: AnyRecord) -> FittedCalibrator:
            part = FittedSplit(record, record, self.metrics, self.resamples, self.epsilon, self.fit_seed)
            return part.fitted(name, method)

        others = [self.test.item_ids[self.folds != f].tolist() for f in range(self.n_folds)]
        return FoldedFit(on(self.test), tuple(on(self.test.take(ids)) for ids in others))


def cross_fits(calibrator: str | Calibrator) -> bool:
    """Whether a calibrator may be cross-fitted: it says that it learns few numbers, whatever the classes."""
    method = calibrators.get(calibrator) if isinstance(calibrator, str) else calibrator
    return bool(getattr(method, "cross_fits", False))
