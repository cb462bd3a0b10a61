"""Every verdict of a report, computed again from stored records: nobody need trust the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from calbench import calibrators
from calbench.cache import sha256_of
from calbench.errors import CalbenchError, CorruptRecordError
from calbench.escaping import plain_json
from calbench.gates import TRANSFER_ARMS, Comparison, GateFigures, clusters_of, division, transfer
from calbench.interchange import pair
from calbench.records import AnyRecord, digest, one_record
from calbench.registry import Spec
from calbench.report._evidence import read_evidence
from calbench.report._format import Evidence, JudgedOf, Settings
from calbench.store import Store, key_of

State = Literal["same", "differs", "missing", "open"]
# Sums in another order, on another machine.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Finding:
    """What became of one thing that was to be verified.

    Attributes
    ----------
    state
        ``"same"``: it was computed again, and is what the report says; ``"differs"``; ``"missing"``: a
        record is not in this store; ``"open"``: stored records cannot tell.
    what
        The gate, the record or the file.
    why
        What differs or is missing; ``""`` where it is the same.
    """

    state: State
    what: str
    why: str = ""


def verify(
    folder: str | PathLike[str], store: Store, *, records: Iterable[AnyRecord] = ()
) -> Iterator[Finding]:
    """Compute every verdict of a report again, and check its hashes.

    Parameters
    ----------
    folder
        Of the report, with ``evidence.json`` and ``results.json``.
    store
        Where the records are.
    records
        Those that came from elsewhere, and are in no store.

    Raises
    ------
    InputError
        There is no evidence, or it is of another format.
    """
    folder = Path(folder)
    said = read_evidence(folder)
    yield _equal(
        "evidence.json", said["sha256"], key_of(plain_json({k: v for k, v in said.items() if k != "sha256"}))
    )
    results = folder / "results.json"
    if results.is_file():
        yield _equal("results.json", said["results_sha256"], sha256_of(results))
    else:
        yield Finding("missing", "results.json", "it is not in the folder")
    imported = {digest(record): record for record in records}
    for key, identity in said["records"].items():
        yield Finding("same", f"record {key[:12]}") if key in imported else _record(store, key, identity)
    yield from _gates(said, store, imported)


def _equal(what: str, said: object, found: str) -> Finding:
    return (
        Finding("same", what)
        if said == found
        else Finding("differs", what, f"its hash is {found}, not {said}")
    )


def _record(store: Store, key: str, identity: Mapping[str, Any]) -> Finding:
    """Check that a key is that of what it is said to be made of, and that the record is whole."""
    what = f"record {key[:12]}"
    if "model" in identity and key_of(identity) != key:  # of one from elsewhere the key is its own hash
        return Finding("differs", what, "its key is not the hash of what the evidence says it was made of")
    try:
        found = store.read(key)
    except CorruptRecordError as error:
        return Finding("differs", what, str(error))
    return Finding("same", what) if found else Finding("missing", what, f"{key} is not in {store.root}")


def _gates(said: Evidence, store: Store, imported: Mapping[str, AnyRecord]) -> Iterator[Finding]:
    settings = said["settings"]

    @cache
    def record(key: str) -> AnyRecord | None:
        try:
            found = None if key in imported else store.read(key)
        except CorruptRecordError:
            return None
        return found.predictions if found else imported.get(key)

    compared: dict[tuple[object, ...], Comparison] = {}
    for gate in said["gates"]:
        of = gate["of"]
        what = f"{of['cell']}: {gate['metric']} {gate['limit']}={gate['margin']:g}"
        if gate["reference"]:
            what += f" against {gate['reference']}"
        pairs = [(of["records"]["reference"], of["records"]["candidate"]), *_further(gate)]
        if missing := [key[:12] for pair in pairs for key in pair if record(key) is None]:
            yield Finding("missing", what, f"record {missing[0]} cannot be read")
            continue
        if why := _beyond_records(gate):
            yield Finding("open", what, why)
            continue
        folds = gate.get("folds") or 1
        place = (*pairs, of["calibrator"], of["seed"], of["n_calibration"], folds)
        if Spec.parse(of["calibrator"]).name not in calibrators.names():
            name = of["calibrator"]
            yield Finding(
                "open", what, f"no package here has the calibrator {name!r}; install the one that does"
            )
            continue
        try:
            if place not in compared:
                references, candidates = (
                    [found for key in keys if (found := record(key))] for keys in zip(*pairs, strict=True)
                )
                compared[place] = _transferred(references, candidates, of, settings, folds)
            yield _judged(compared[place], gate, what)
        except CalbenchError as error:
            yield Finding("open", what, str(error))
    for other in said["without_records"]:
        yield Finding(
            "open", f"{other['test']}: {other['metric']}", "it is of arrays or arms, not of stored records"
        )


def _beyond_records(gate: GateFigures) -> str:
    """Say what a gate needs besides the two records of its cell."""
    if gate["reference"] == "baseline":
        return "it is against a baseline, which is a file of the repository"
    if gate["reference"].startswith("quantizer:"):
        return "it is against another quantizer's record"
    return ""


def _further(gate: GateFigures) -> list[tuple[str, str]]:
    """Return the keys of the records that the deciding look adds to those of the first items."""
    deciding = [look for look in gate["looks"] if look["n"] == gate["n"]]
    return [
        (reference, candidate) for look in deciding[:1] for reference, candidate in look.get("records", ())
    ]


def _transferred(
    references: list[AnyRecord],
    candidates: list[AnyRecord],
    of: JudgedOf,
    settings: Settings,
    folds: int,
) -> Comparison:
    """Compare on all items of the records; calibrators are fitted on items of the first ones alone."""
    first = pair(references[0], candidates[0])
    split = division(
        first.reference.item_ids.tolist(),
        of["calibrator"],
        n_calibration=of["n_calibration"] or None,
        seed=of["seed"],
        clusters=clusters_of(first.reference, first.candidate),
    )
    both = first
    if len(references) > 1:
        both = pair(one_record(references), one_record(candidates))
    epsilons = of["epsilons"]
    return transfer(
        both.reference,
        both.candidate,
        of["calibrator"],
        calibration_ids=split.calibration if folds == 1 else None,
        folds=folds,
        reference_epsilon=epsilons[0],
        candidate_epsilon=epsilons[1],
        level=of["level"],
        n_resamples=settings["n_resamples"],
        seed=of["seed"],
        bootstrap_seed=settings.get("bootstrap_seed"),
    )


def _judged(comparison: Comparison, gate: GateFigures, what: str) -> Finding:
    is_arm = gate["reference"] or gate["candidate"] in TRANSFER_ARMS
    pair = (
        {"arm": gate["candidate"], "against": gate["reference"] or None}
        if is_arm
        else {"contrast": gate["candidate"]}
    )
    limit: dict[str, Any] = {gate["limit"]: gate["margin"]}
    decision = comparison.decide(
        gate["metric"],
        **limit,
        level=gate["interval_level"],
        **pair,
    )
    if decision.change.n != gate["n"]:
        return Finding("open", what, "it was judged on a part of the record's items")
    numbers = zip(
        (decision.change.value, *decision.change.interval),
        (gate["delta"], *gate["interval"]),
        strict=True,
    )
    if not all(math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) or a == b for a, b in numbers):
        return Finding("differs", what, f"it is {decision.change.value:+.6g}, not {gate['delta']:+.6g}")
    corrected = (
        gate["p_value"] is not None and decision.outcome == "fail" and gate["outcome"] == "inconclusive"
    )
    if decision.outcome != gate["outcome"] and not corrected:
        return Finding("differs", what, f"it is {decision.outcome}, not {gate['outcome']}")
    return Finding("same", what)
