"""Baselines on disk: reviewable JSON with a checksum, and the answers beside it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from calbench.baselines._baseline import Baseline
from calbench.cache import replacing
from calbench.errors import BaselineRefusedError, InputError
from calbench.records import TopLabelPredictions
from calbench.runs import Cell
from calbench.store import key_of

FORMAT = 1
# Safe in file names everywhere that matters, and they keep ids readable.
_SAFE = "[]=,+"
_FIELDS = ("suite", "cell", "items", "metrics", "scoring", "settings", "records", "versions")
# What reading a damaged .npz can raise; RuntimeError where a flipped bit says that it is encrypted.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, InputError)


def path_of(folder: Path, suite: str, cell_id: str) -> Path:
    """Return where a cell's baseline is, or would be.

    >>> path_of(Path("baselines"), "test_transfer", "minilm-movie-bnb_nf4-beta").as_posix()
    'baselines/test_transfer/minilm-movie-bnb_nf4-beta.json'
    """
    return folder / suite / f"{quote(cell_id, safe=_SAFE)}.json"


def is_baseline(path: Path) -> bool:
    """Whether a file is meant to be a baseline: its answers are beside it, or it says they should be."""
    if path.suffix != ".json":
        return False
    if path.with_suffix(".npz").is_file():
        return True
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(contents, dict) and "answers_sha256" in contents


def read(path: Path) -> Baseline:
    """Read a baseline.

    Raises
    ------
    BaselineRefusedError
        It is missing, damaged, edited by hand, or in another format; the message names the file.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        found, checksum = contents["format"], contents.pop("checksum")
    except FileNotFoundError:
        raise BaselineRefusedError(f"{path}: there is no such baseline") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaselineRefusedError(f"{path} is damaged and cannot be read ({error!r})") from None
    if found != FORMAT:
        raise BaselineRefusedError(f"{path} is in format {found!r}, and this calbench reads {FORMAT}")
    if key_of(contents) != checksum:
        raise BaselineRefusedError(
            f"{path} does not match its checksum: it was edited by hand, or a merge went wrong"
        )
    sidecar = path.with_suffix(".npz")
    try:
        answers = _answers(sidecar.read_bytes())
    except FileNotFoundError:
        raise BaselineRefusedError(f"{sidecar} is missing; it holds the answers of {path.name}") from None
    except _DAMAGED as error:
        raise BaselineRefusedError(f"{sidecar} is damaged and cannot be read ({error!r})") from None
    if _answers_hash(answers) != contents["answers_sha256"]:
        raise BaselineRefusedError(f"{sidecar} does not belong to {path.name}: its answers are others")
    return Baseline(answers=answers, **{name: contents[name] for name in _FIELDS})


def write(folder: Path, cell_id: str, baseline: Baseline) -> bool:
    """Write a baseline, each file in one step; returns whether anything had changed."""
    path = path_of(folder, baseline.suite, cell_id)
    contents = _contents(baseline)
    try:
        if _contents(read(path)) == contents:
            return False
    except BaselineRefusedError:
        pass  # missing or unreadable: exactly what is to be replaced
    with replacing(path.with_suffix(".npz")) as temporary:
        temporary.write_bytes(_sidecar(baseline.answers))
    with replacing(path) as temporary:
        text = json.dumps({**contents, "checksum": key_of(contents)}, indent=1, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")
    return True


def stale(folder: Path, collected: Mapping[str, Iterable[str]], *, profile: str) -> list[Path]:
    """Return the baselines of a profile whose cells the collected suites no longer have.

    ``collected`` has each suite's cell ids. Suites that were not collected are left alone.
    """
    found = []
    for suite, cell_ids in collected.items():
        expected = {path_of(folder, suite, cell_id).name for cell_id in cell_ids}
        present = sorted((folder / suite).glob("*.json"))
        others = [path for path in present if path.name not in expected]
        found += [path for path in others if _profile_of(path) in (profile, None)]
    return found


def payload_of(baseline: Baseline) -> dict[str, Any]:
    """Return a baseline as plain JSON, to cross process borders."""
    sidecar = base64.b64encode(_sidecar(baseline.answers)).decode("ascii")
    return {"contents": _contents(baseline), "sidecar": sidecar}


def from_payload(payload: Mapping[str, Any]) -> Baseline:
    """Return the baseline that :func:`payload_of` was given."""
    contents = payload["contents"]
    answers = _answers(base64.b64decode(payload["sidecar"]))
    return Baseline(answers=answers, **{name: contents[name] for name in _FIELDS})


def cell_id_of(baseline: Baseline) -> str:
    """Return the id of the cell that a baseline is of."""
    return Cell(**baseline.cell).id


def _contents(baseline: Baseline) -> dict[str, Any]:
    fields = {name: getattr(baseline, name) for name in _FIELDS}
    contents = {"format": FORMAT, "answers_sha256": _answers_hash(baseline.answers), **fields}
    plain: dict[str, Any] = json.loads(json.dumps(contents, allow_nan=False))
    return plain


def _sidecar(answers: TopLabelPredictions) -> bytes:
    order = np.argsort(answers.item_ids)
    file = io.BytesIO()
    np.savez_compressed(
        file,
        item_ids=answers.item_ids[order],
        confidences=answers.confidences[order].astype(np.float32),
        correct=np.packbits(answers.correct[order]),
    )
    return file.getvalue()


def _answers(sidecar: bytes) -> TopLabelPredictions:
    with np.load(io.BytesIO(sidecar), allow_pickle=False) as arrays:
        ids, confidences = arrays["item_ids"], arrays["confidences"]
        correct = np.unpackbits(arrays["correct"], count=len(ids)).astype(bool)
    return TopLabelPredictions(ids.tolist(), confidences.astype(np.float64), correct)


def _answers_hash(answers: TopLabelPredictions) -> str:
    order = np.argsort(answers.item_ids)
    digest = hashlib.sha256("\n".join(answers.item_ids[order].tolist()).encode())
    digest.update(answers.confidences[order].astype("<f4").tobytes())
    digest.update(np.packbits(answers.correct[order]).tobytes())
    return digest.hexdigest()


def _profile_of(path: Path) -> str | None:
    try:
        profile: str = json.loads(path.read_text(encoding="utf-8"))["settings"]["profile"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return profile
