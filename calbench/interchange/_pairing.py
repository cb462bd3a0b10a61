"""Two records of the same items, out of two that need not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
    differences
        How the shared items were asked differently.
    """

    reference: AnyRecord
    candidate: AnyRecord
    only_reference: tuple[str, ...]
    only_candidate: tuple[str, ...]
    differences: tuple[str, ...] = ()

    @property
    def notes(self) -> Iterator[str]:
        """Say how the records were read, what was asked differently, and what was left out."""
        for name, record in (("reference", self.reference), ("candidate", self.candidate)):
            read = record.metadata.get("notes")
            yield from (f"{name}: {note}" for note in (read if isinstance(read, list) else ()))
        yield from self.differences
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
        They share no item, their items are others under the same ids, or their rows are numbered and
        not equally many.

    Examples
    --------
    >>> a = TopLabelPredictions(["x", "y"], [0.9, 0.8], [True, False])
    >>> b = TopLabelPredictions(["y", "z"], [0.7, 0.6], [True, True])
    >>> pair(a, b).only_candidate
    ('z',)
    """
    _refuse_other_numbers(reference, candidate)
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
    differences = tuple(_differences(reference.metadata, candidate.metadata, shared))
    only_ours = tuple(item for item in ours if item not in there)
    only_theirs = tuple(item for item in theirs if item not in here)
    if not only_ours and not only_theirs:
        return Paired(reference, candidate, (), (), differences)
    return Paired(reference.take(shared), candidate.take(shared), only_ours, only_theirs, differences)


def _refuse_other_numbers(reference: AnyRecord, candidate: AnyRecord) -> None:
    """Refuse numbered rows of which one file has more: their numbers do not name the same items."""
    numbered = all(_mapped(record).get("row_ids") for record in (reference, candidate))
    chosen = any(_mapped(record).get("where") for record in (reference, candidate))
    if numbered and not chosen and len(reference) != len(candidate):
        raise InputError(
            f"their rows are numbered, and the reference has {len(reference):,} and the candidate"
            f" {len(candidate):,}: number n is not the same item; name a column of ids with"
            " ColumnNames(item_id='NAME')"
        )


def _mapped(record: AnyRecord) -> Mapping[str, Any]:
    mapped = record.metadata.get("columns")
    return mapped if isinstance(mapped, Mapping) else {}


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], shared: list[str]) -> Iterator[str]:
    """Say how a harness asked two models differently; refuse other items under the same ids."""
    hashes = [facts.get("item_hashes") for facts in (ours, theirs)]
    if all(isinstance(known, Mapping) for known in hashes):
        for place, what in enumerate(("item", "prompt")):
            odd = [item for item in shared if _differ(hashes, item, place)]
            if odd and what == "item":
                raise InputError(
                    f"{len(odd):,} of {len(shared):,} items have the same id and another content (doc_hash),"
                    " first"
                    f" {odd[0]!r}; evaluate both models on one version of the task's data"
                )
            if odd:
                yield f"{len(odd):,} items were asked with other prompts (prompt_hash), first {odd[0]!r}"
    for name, what in (("n_shot", "shots"), ("chat_template", "chat template"), ("scoring", "scoring")):
        known, other = ours.get(name), theirs.get(name)
        if name in ours and name in theirs and known != other:
            yield f"the models were asked with another {what}: {_short(known)} and {_short(other)}"


def _differ(hashes: list[Any], item: str, place: int) -> bool:
    ours, theirs = (str((known.get(item) or ("", ""))[place]) for known in hashes)
    # A hash that starts with ~ is calbench's own, of a log without one.
    comparable = bool(ours and theirs) and ours.startswith("~") == theirs.startswith("~")
    return comparable and ours != theirs


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 40 else f"{text[:37]}..."


def _top(record: AnyRecord) -> TopLabelPredictions:
    return record.to_top_label() if isinstance(record, Predictions) else record
