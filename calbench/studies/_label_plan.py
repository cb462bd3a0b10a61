"""Which items to label, to tell two models apart: where their answers differ, and a sample of the rest."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from calbench.cache import replacing
from calbench.errors import InputError
from calbench.records import PLAN, Answers, AnyRecord, Bool, Strings, cells, open_columns
from calbench.seeds import SEED, Seed, seed_number
from calbench.statistics import LabelSample, allocation

REST_SHARE = 0.25
_COLUMNS = ("item_id", "label", "stratum", "inclusion_probability", "weight", PLAN)


@dataclass(frozen=True, eq=False)
class LabelPlan:
    """Items to label, drawn at random within two strata: those on which the models differ, and the rest.

    Attributes
    ----------
    reference, candidate
        The answers to the items that both models have, in one order.
    n_labels, rest_share, seed
        What was asked for.
    """

    reference: Answers
    candidate: Answers
    n_labels: int
    rest_share: float = REST_SHARE
    seed: int = SEED

    @cached_property
    def flips(self) -> Bool:
        """Which items the two answer differently, ``(N,)``."""
        return np.asarray(_folded(self.reference.predicted) != _folded(self.candidate.predicted))

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Items to label and items there are: of those that flip, and of the rest."""
        n_flips = int(self.flips.sum())
        there = n_flips, len(self.flips) - n_flips
        chosen = allocation(*there, self.n_labels, rest_share=self.rest_share)
        return (chosen[0], there[0]), (chosen[1], there[1])

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The items to label, in an order that tells nothing: of a larger plan they are among the first."""
        ids = self.reference.item_ids.tolist()
        keys = [hashlib.sha256(f"{self.seed}:{item}".encode()).hexdigest() for item in ids]
        chosen = list[int]()
        for flipped, (n_labels, _) in zip((True, False), self.sizes, strict=True):
            chosen += sorted(np.flatnonzero(self.flips == flipped).tolist(), key=keys.__getitem__)[:n_labels]
        return tuple(sorted(chosen, key=keys.__getitem__))

    @property
    def worth(self) -> int:
        """How many items drawn at random would tell as much of the difference in accuracy, if labelled."""
        (labelled, flips), _ = self.sizes
        return len(self.flips) if not flips else round(labelled * len(self.flips) / flips)

    @property
    def mark(self) -> str:
        """What was asked for, and a digest of the answers that the plan is of."""
        state = hashlib.sha256()
        for side in (self.reference, self.candidate):
            state.update("\x00".join([*side.item_ids.tolist(), *side.predicted.tolist()]).encode())
        return f"{self.n_labels}/{self.rest_share}/{self.seed}/{state.hexdigest()[:16]}"

    def write(self, path: str | Path) -> None:
        """Write the plan as csv, with an empty column ``label`` to fill in.

        It does not say what the models answered: who labels should not know.
        """
        with replacing(Path(path)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for row in self.rows:
                n_labels, there = self.sizes[0 if self.flips[row] else 1]
                stratum = "flip" if self.flips[row] else "rest"
                item = self.reference.item_ids[row]
                writer.writerow([item, "", stratum, n_labels / there, there / n_labels, self.mark])

    def judged(self, labels: Iterable[str]) -> LabelSample:
        """Return the answers with the labels ``(n,)`` of the items of :attr:`rows`, in that order.

        Raises
        ------
        InputError
            A label is missing, or is none of the classes.
        """
        given = [label.strip() for label in labels]
        if len(given) != len(self.rows):
            raise InputError(f"{len(given)} labels are given for the plan's {len(self.rows)} items")
        ids = self.reference.item_ids
        empty = [str(ids[row]) for row, label in zip(self.rows, given, strict=True) if not label]
        if empty:
            raise InputError(
                f"{len(empty)} of {len(given)} items have no label yet, {empty[0]!r} first; label them, or"
                " plan fewer with n=: what was left out is not left out at random"
            )
        classes = set(_folded(np.array(self.reference.classes or [""])).tolist())
        right = _folded(np.array(given))
        odd = [place for place, label in enumerate(right.tolist()) if label not in classes]
        if self.reference.classes and odd:
            raise InputError(
                f"the label {given[odd[0]]!r} of item {str(ids[self.rows[odd[0]]])!r} is none of the classes"
                f" {', '.join(self.reference.classes[:20])}; write one of them"
            )
        rows = np.array(self.rows, dtype=np.intp)
        correct = [_folded(side.predicted[rows]) == right for side in (self.reference, self.candidate)]
        confidences = self.reference.confidences, self.candidate.confidences
        return LabelSample(*confidences, self.flips, rows, *correct)


def plan_labels(
    reference: Answers | AnyRecord,
    candidate: Answers | AnyRecord,
    n_labels: int,
    *,
    rest_share: float = REST_SHARE,
    seed: Seed = SEED,
) -> LabelPlan:
    """Plan which of the items that two models answered to label.

    Parameters
    ----------
    reference, candidate
        What they answered, matched by item id. Labels, where records have them, are not read.
    n_labels
        How many items to label.
    rest_share
        Share of the labels that goes at least to items that both answer alike: these cannot change a
        difference in accuracy, and tell how large each model's calibration error is.
    seed
        Items are ordered by a hash of it and their ids.

    Raises
    ------
    InputError
        They share no item, name different classes or clusters, or ``n_labels`` is too small.

    Examples
    --------
    >>> ids = [str(i) for i in range(100)]
    >>> fp32 = Answers(np.array(ids), np.array(["a"] * 100), np.full(100, 0.8))
    >>> int4 = Answers(np.array(ids), np.array(["b"] * 20 + ["a"] * 80), np.full(100, 0.7))
    >>> plan = plan_labels(fp32, int4, 24)
    >>> plan.sizes, plan.worth
    (((14, 20), (10, 80)), 70)
    """
    sides = [a if isinstance(a, Answers) else Answers.of_record(a) for a in (reference, candidate)]
    if any(side.cluster_ids is not None and len(set(side.cluster_ids)) < len(side) for side in sides):
        raise InputError(
            "the items lie in clusters, and a plan draws them one by one; label whole clusters, drawn at"
            " random, and use calbench compare"
        )
    names = [set(_folded(np.array(side.classes or [""])).tolist()) for side in sides]
    if names[0] != names[1]:
        odd = ", ".join(sorted(names[0] ^ names[1])[:10])
        raise InputError(
            f"the models answer with different classes (one only has {odd}); name them with classes="
        )
    if not 0 < rest_share < 1:
        raise InputError(f"rest_share={rest_share}; use a share between 0 and 1, such as {REST_SHARE}")
    shared = np.intersect1d(sides[0].item_ids, sides[1].item_ids)
    if not len(shared):
        raise InputError(
            "the models answered no item in common; map the id columns so that both name items alike"
        )
    if n_labels > len(shared):
        raise InputError(
            f"{n_labels} labels are more than the {len(shared)} items; label all of them instead"
        )
    first, second = (_taken(side, shared) for side in sides)
    plan = LabelPlan(first, second, n_labels, rest_share, seed_number(seed))
    _ = plan.sizes  # or it says that they are too few
    return plan


def judged_plan(
    reference: Answers | AnyRecord, candidate: Answers | AnyRecord, path: str | Path
) -> tuple[LabelPlan, LabelSample]:
    """Return a plan that was written to a file, and the answers with the labels that were filled in there.

    Raises
    ------
    InputError
        The file is no plan, is one of other answers, or its items are not the plan's.
    """
    path = Path(path)
    file = open_columns(path, text_columns=("item_id", "label", PLAN), plan=True)
    if PLAN not in file.names:
        raise InputError(
            f"{path}: is no plan of which items to label; write one with calbench label-plan --out"
        )
    marks = set(cells(file.column(PLAN)))
    n_labels, rest_share, seed = _asked(path, min(marks))
    plan = plan_labels(reference, candidate, n_labels, rest_share=rest_share, seed=seed)
    if marks != {plan.mark}:
        raise InputError(
            f"{path}: is a plan for other answers than these (or for several); give the files that it"
            " was made of"
        )
    ids = cells(file.column("item_id"))
    wanted = [str(plan.reference.item_ids[row]) for row in plan.rows]
    if sorted(ids) != sorted(wanted):
        odd = sorted(set(ids) ^ set(wanted))
        raise InputError(
            f"{path}: its items are not the plan's ({len(odd)} differ, {(odd or ids)[0]!r} first); rows must"
            " not be dropped, added or doubled: which are labelled is what makes the estimates right"
        )
    filled = file.column("label") if "label" in file.names else [None] * len(ids)
    labels = dict(zip(ids, ["" if label is None else str(label) for label in filled], strict=True))
    try:
        return plan, plan.judged(labels[item] for item in wanted)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _asked(path: Path, mark: str) -> tuple[int, float, int]:
    """Return what a plan's mark says was asked for."""
    try:
        n_labels, rest_share, seed, _ = mark.split("/")
        return int(n_labels), float(rest_share), int(seed)
    except ValueError:
        raise InputError(
            f"{path}: its column {PLAN} was changed; write the plan again, and fill in label"
        ) from None


def _taken(answers: Answers, item_ids: Strings) -> Answers:
    order = np.argsort(answers.item_ids)
    rows = order[np.searchsorted(answers.item_ids, item_ids, sorter=order)]
    return Answers(item_ids, answers.predicted[rows], answers.confidences[rows], answers.classes)


def _folded(texts: Strings) -> Strings:
    """Return texts whose case and outer blanks do not count."""
    return np.array([text.strip().casefold() for text in texts.tolist()])
