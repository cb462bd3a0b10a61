"""From a map of one probability to a calibrator of class vectors: by the top label, or one class at a time.

The maps see log-odds, computed from the logits, so that a confidence of 1 − 1e-20 is not yet 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from calbench.calibrators._array_ops import NUMPY, Ops, filled, finite, log_softmax
from calbench.calibrators._fitted import Fitted, Method, Problems
from calbench.calibrators._inputs import FitData, check_fit
from calbench.calibrators._interface import CalibrationContext
from calbench.errors import InputError
from calbench.records import Bool, Float64, check_confidences, check_correct

Form = Literal["top-label", "one-vs-rest"]
FORMS: tuple[str, ...] = get_args(Form)
_NEVER = -1e30  # the logit of an option that is not there
_LIMIT = 1e4  # log-odds beyond it are certainty


@dataclass(frozen=True, eq=False)
class Samples:
    """What one map is fitted on: log-odds ``(n,)`` and whether the event happened ``(n,)``.

    ``event`` names it in messages; ``borrowed`` says that they are other classes' samples.
    """

    log_odds: Float64
    happened: Bool
    event: str
    borrowed: bool = False

    @property
    def probs(self) -> Float64:
        """The uncalibrated probabilities of the event, ``(n,)``."""
        return np.asarray(np.exp(-np.logaddexp(0.0, -self.log_odds)))


@dataclass(frozen=True, eq=False, kw_only=True)
class ConfidenceFit(Fitted):
    """A fit that maps probabilities one by one; a method adds ``map`` and its parameters.

    ``form`` is ``"top-label"``: one map, for the predicted class's confidence, the other classes
    sharing the rest as before; or ``"one-vs-rest"``: a map a class, then renormalisation (for two
    classes one map, of class 1).
    """

    form: Form

    @abstractmethod
    def map(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Return calibrated probabilities of log-odds ``(n, 1)``, by the ``number``-th map."""

    def rest(self, ops: Ops, log_odds: Any, number: int) -> Any:
        """Return 1 less what ``map`` gives; a method whose map comes close to 1 can be more exact."""
        return 1 - self.map(ops, log_odds, number)

    def formula(self, ops: Ops, z: Any) -> Any:
        """Probabilities ``(n, k)``."""
        if self.form == "top-label":
            return self._top_label(ops, z)
        if self.n_classes == 2:
            return self._of_two(ops, z)
        return self._one_vs_rest(ops, z)

    @property
    def n_maps(self) -> int:
        """How many maps the form has."""
        return 1 if self.form == "top-label" or self.n_classes == 2 else self.n_classes or 0

    def problems(self) -> Problems:
        """What is wrong with its form."""
        yield self.form in FORMS, f"form is {self.form!r}"
        yield (self.form == "top-label") == (self.n_classes is None), f"n_classes is {self.n_classes!r}"

    def confidences(self, confidences: npt.ArrayLike) -> Float64:
        """Return calibrated confidences ``(n,)`` where only the top answer's is known.

        Raises
        ------
        InputError
            The fit maps classes, not confidences: fit it with ``fit_confidences``.
        """
        if self.form != "top-label":
            raise InputError(
                f"this {self.calibrator} fit maps the probability of each class; for confidences alone use"
                " fit_confidences(confidences, correct)"
            )
        odds = _odds_of_confidences(check_confidences(confidences))
        return np.asarray(self.map(NUMPY, odds[:, None], 0)[:, 0])

    def _top_label(self, ops: Ops, z: Any) -> Any:
        top, odds, others = top_log_odds(ops, z)
        alone = odds >= _LIMIT
        confidence = ops.where(alone, 1.0, self.map(ops, odds, 0))
        return ops.where(top, confidence, ops.where(alone, 0.0, self.rest(ops, odds, 0)) * others)

    def _of_two(self, ops: Ops, z: Any) -> Any:
        odds = class_log_odds(ops, z)[..., 1:2]
        present = [finite(z)[..., k : k + 1] for k in (0, 1)]
        # An item with one option is certain.
        first = ops.where(present[1], self.rest(ops, odds, 0), 1.0)
        second = ops.where(present[0], self.map(ops, odds, 0), 1.0)
        return ops.concat([ops.where(present[0], first, 0.0), ops.where(present[1], second, 0.0)])

    def _one_vs_rest(self, ops: Ops, z: Any) -> Any:
        odds, present = class_log_odds(ops, z), finite(z)
        maps = range(self.n_classes or 0)
        raw = ops.concat([self.map(ops, odds[..., k : k + 1], k) for k in maps])
        raw = ops.where(present, raw, 0.0)
        total = ops.sum(raw)
        # Where every map says 0 nothing is left to share out: all options are equal.
        even = ops.where(present, 1.0, 0.0) / ops.sum(ops.where(present, 1.0, 0.0))
        return ops.where(total > 0, raw / ops.where(total > 0, total, 1.0), even)


class ConfidenceMethod(Method, ABC):
    """A method that fits maps of one probability; it adds its settings and ``fit_maps``."""

    needs = "top-label"
    form: Form

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            name = self.fit_type.calibrator
            raise InputError(f"{name}: form is {self.form!r}; use {' or '.join(map(repr, FORMS))}")

    @abstractmethod
    def fit_maps(self, maps: list[Samples], form: Form, n_classes: int | None) -> ConfidenceFit:
        """Fit each map."""

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, context: CalibrationContext | None = None
    ) -> ConfidenceFit:
        """Fit each map; raises :class:`InputError` for data that cannot be used."""
        data = check_fit(logits, labels, context)
        return self.fit_maps(
            samples(data, self.form), self.form, None if self.form == "top-label" else data.n_classes
        )

    def fit_confidences(self, confidences: npt.ArrayLike, correct: npt.ArrayLike) -> ConfidenceFit:
        """Fit the top-label map where only confidences and correctness are known."""
        return self.fit_maps([confidence_samples(confidences, correct)], "top-label", None)


def top_log_odds(ops: Ops, z: Any) -> tuple[Any, Any, Any]:
    """Mask of the predicted class, its log-odds ``(n, 1)``, and the others' shares ``(n, k)``.

    Log-odds are cut at a limit that only an item with a single option reaches.
    """
    top = ops.is_top(z)
    rest = ops.where(top, _NEVER, filled(ops, z, _NEVER) - ops.max(z))
    rest = ops.maximum(rest, _NEVER)
    largest = ops.max(rest)
    log_rest = largest + ops.log(ops.sum(ops.exp(rest - largest)))
    return top, ops.minimum(-log_rest, _LIMIT), ops.exp(rest - log_rest)


def class_log_odds(ops: Ops, z: Any) -> Any:
    """Log-odds of every class ``(n, k)``, cut at a limit; options that are not there have the least."""
    log_probs = log_softmax(ops, z)
    top, odds, _ = top_log_odds(ops, z)
    # 1 - p loses nothing for a class that is not the predicted one: its p is at most 1/2.
    smaller = ops.where(top, 0.5, ops.exp(log_probs))
    plain = ops.where(finite(z), log_probs, -_LIMIT) - ops.log(1 - smaller)
    return ops.maximum(ops.where(top, odds, plain), -_LIMIT)


def samples(data: FitData, form: str) -> list[Samples]:
    """What each map of a form is fitted on; items with a single option teach nothing.

    A class that is an option of no item borrows the samples of all others: its map is theirs.
    """
    z = data.logits.astype(np.float64)
    several = finite(z).sum(axis=1) > 1
    z, labels = z[several], data.labels[several]
    if form == "top-label":
        top, odds, _ = top_log_odds(NUMPY, z)
        return [Samples(odds[:, 0], top[np.arange(len(z)), labels], "the prediction is right")]
    odds, present = class_log_odds(NUMPY, z), finite(z)
    classes = [1] if data.n_classes == 2 else range(data.n_classes)
    right = labels[:, None] == np.arange(data.n_classes)
    found = []
    for k in classes:
        rows, borrowed = present[:, k], not present[:, k].any()
        of = present if borrowed else (rows, k)
        found.append(Samples(odds[of], right[of], f"the label is {k}", borrowed))
    return found


def confidence_samples(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> Samples:
    """What a map is fitted on where only the top answer's confidence is known."""
    checked = check_confidences(confidences)
    return Samples(
        _odds_of_confidences(checked), check_correct(correct, len(checked)), "the prediction is right"
    )


def one_sided(maps: list[Samples]) -> tuple[str, ...]:
    """Word the warning for events that always, never or nowhere could happen; empty if there are none."""
    sure = {
        s.event: "is never an option, so the map of all others stands in"
        if s.borrowed
        else ("always" if s.happened.all() else "never")
        for s in maps
        if s.borrowed or s.happened.all() or not s.happened.any()
    }
    if not sure:
        return ()
    shown = ", ".join(f"{event} ({how})" for event, how in list(sure.items())[:5])
    more = f" and {len(sure) - 5} more" if len(sure) > 5 else ""
    return (f"on the calibration split there is nothing to learn from where {shown}{more}",)


def _odds_of_confidences(confidences: Float64) -> Float64:
    # A float's spacing below 1 bounds what a printed confidence of 1 can mean.
    p = np.clip(confidences, 2.0**-53, 1 - 2.0**-53)
    return np.asarray(np.log(p) - np.log1p(-p))
