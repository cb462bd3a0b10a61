"""Two records of the same items, out of two that need not be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from calbench.errors import InputError
from calbench.records import AnyRecord, Predictions, TopLabelPredictions

_SHOWN = 3


@dataclass(frozen=True)
class Paired:
    """The items that two records share, and those that only one has.

    Attributes
    ----------
    reference, candidate
        The shared items, in the reference's order.
    only_reference, only_candidate
        Ids of the rest.
    """

    reference: AnyRecord
    candidate: AnyRecord
    only_reference: tuple[str, ...]
    only_candidate: tuple[str, ...]

    @property
    def notes(self) -> Iterator[str]:
        """Say what was left out, with a few ids."""
        for name, ids in (("reference", self.only_reference), ("candidate", self.only_candidate)):
            if ids:
                shown = ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
                yield f"{len(ids):,} items are in the {name} only and were left out: {shown}"


def pair(reference: AnyRecord, candidate: AnyRecord) -> Paired:
    """Align two records by id.

    If one of them is of the top answer only, both are reduced to that.

    Raises
    ------
    InputError
        They share no item.

    Examples
    --------
    >>> a = TopLabelPredictions(["x", "y"], [0.9, 0.8], [True, False])
    >>> b = TopLabelPredictions(["y", "z"], [0.7, 0.6], [True, True])
    >>> pair(a, b).only_candidate
    ('z',)
    """
    if type(reference) is not type(candidate):
        reference, candidate = _top(reference), _top(candidate)
    ours, theirs = reference.item_ids.tolist(), candidate.item_ids.tolist()
    here, there = set(ours), set(theirs)
    shared = [item for item in ours if item in there]
    if not shared:
        raise InputError(
            f"the records share no item (the reference has {ours[0]!r}, ..., the candidate {theirs[0]!r},"
            " ...); map the id columns so that both name items alike"
        )
    only_ours = tuple(item for item in ours if item not in there)
    only_theirs = tuple(item for item in theirs if item not in here)
    if not only_ours and not only_theirs:
        return Paired(reference, candidate, (), ())
    return Paired(reference.take(shared), candidate.take(shared), only_ours, only_theirs)


def _top(record: AnyRecord) -> TopLabelPredictions:
    return record.to_top_label() if isinstance(record, Predictions) else record
