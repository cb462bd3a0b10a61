"""Baselines on disk: a suite's cells in one reviewable JSON file, and their answers beside it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from calbench.baselines._baseline import Baseline
from calbench.cache import replacing
from calbench.errors import BaselineRefusedError, InputError
from calbench.records import TopLabelPredictions
from calbench.runs import Cell
from calbench.store import key_of

FORMAT = 2
# What the cells of one record have in common is written once, under the beginning of its hash.
_SHARED = ("items", "scoring", "settings", "records", "identity")
_N_DIGITS = 16
# What reading a damaged .npz can raise; RuntimeError where a flipped bit says that it is encrypted.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, InputError)
_Arrays = dict[str, "np.ndarray[Any, Any]"]


def path_of(folder: str | PathLike[str], suite: str) -> Path:
    """Return where a suite's baselines are, or would be.

    >>> path_of(Path("baselines"), "test_transfer").as_posix()
    'baselines/test_transfer.json'
    """
    return Path(folder) / f"{suite}.json"


def split_path(text: str | Path) -> tuple[Path, str | None]:
    """Return the file and the cell that ``FILE.json::model::task::quantizer::calibrator`` names.

    >>> split_path("baselines/test_transfer.json::minilm::tweets::bnb-nf4::beta")[1]
    'minilm::tweets::bnb-nf4::beta'
    """
    file, _, cell = str(text).partition("::")
    return Path(file), cell or None


def is_baseline(path: str | PathLike[str]) -> bool:
    """Whether a file says that it holds baselines, readable or not."""
    path = Path(path)
    try:
        return path.suffix == ".json" and {"format", "suite", "cells"} <= set(
            _contents(path, *_signature(path))
        )
    except BaselineRefusedError:
        return False


def read(path: str | PathLike[str], cell: str | None = None) -> Baseline:
    """Read one cell's baseline.

    Parameters
    ----------
    path
        The suite's JSON file.
    cell
        ``model::task::quantizer::calibrator``; may be left out where the file holds one cell.

    Raises
    ------
    BaselineRefusedError
        It is missing, damaged, edited by hand, or in another format; the message names the file.
    """
    path = Path(path)
    contents = _contents(path, *_signature(path))
    if (found := contents.get("format")) != FORMAT:
        raise BaselineRefusedError(f"{path} is in format {found!r}, and this calbench reads {FORMAT}")
    cells = contents["cells"]
    if cell is None and len(cells) == 1:
        (cell,) = cells
    if cell is None:
        raise BaselineRefusedError(
            f"{path} holds {len(cells)} cells; name one, for example {path}::{next(iter(cells), 'CELL')}"
        )
    if cell not in cells:
        raise BaselineRefusedError(f"{path}: there is no baseline of {cell}")
    try:
        line, shared = cells[cell], contents["shared"][cells[cell]["shared"]]
        definitions = contents["metrics"]
        if line["checksum"] != _checksum(cell, line) or key_of(shared)[:_N_DIGITS] != line["shared"]:
            raise BaselineRefusedError(
                f"{path} does not match its checksum at {cell}: it was edited by hand, or a merge went wrong"
            )
        metrics = {
            name: {"value": value, "fingerprint": definitions[which]}
            for name, (value, which) in line["metrics"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BaselineRefusedError(f"{path} is damaged at {cell} ({error!r})") from None
    return Baseline(
        suite=contents["suite"],
        cell=_cell(cell),
        answers=_answers_of(path, cell, line["answers"]),
        metrics=metrics,
        **{name: shared[name] for name in _SHARED},
    )


def write(folder: str | PathLike[str], baselines: Iterable[Baseline], *, gone: Iterable[str] = ()) -> int:
    """Write baselines of one suite into its two files, each in one step.

    Other cells of the suite are left as they are, but for those that are ``gone``.

    Returns
    -------
        How many of the baselines differ from what was there.
    """
    todo = {cell_name_of(one): one for one in baselines}
    path = path_of(folder, next(iter(todo.values())).suite)
    cells, shared, definitions, arrays = _present(path)
    for name in gone:
        cells.pop(name, None)
    changed = 0
    for name, one in todo.items():
        line, common, defined = _line(name, one)
        changed += not (cells.get(name) == line and _answered(arrays, name, line["answers"]))
        cells[name], shared[line["shared"]] = line, common
        definitions.update(defined)
        arrays.update(_arrays(name, one.answers))
    if not changed and not set(gone):
        return 0
    _save(path, cells, shared, definitions, arrays)
    return changed


def stale(
    folder: str | PathLike[str], collected: Mapping[str, Iterable[str]], *, profile: str
) -> dict[str, list[str]]:
    """Return the cells of each suite's baselines of a profile that the collected suites no longer have.

    ``collected`` has each suite's cells by name. Suites that were not collected are left alone.
    """
    found = {}
    for suite, names in collected.items():
        cells, shared, *_ = _present(path_of(folder, suite))
        mine = {key for key, common in shared.items() if common["settings"].get("profile") == profile}
        gone = {name for name, line in cells.items() if line["shared"] in mine} - set(names)
        if gone:
            found[suite] = sorted(gone)
    return found


def payload_of(baseline: Baseline) -> dict[str, Any]:
    """Return a baseline as plain JSON, to cross process borders."""
    fields = {name: getattr(baseline, name) for name in ("suite", "cell", "metrics", *_SHARED)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **_arrays("cell", baseline.answers))  # type: ignore[arg-type]
    plain: dict[str, Any] = json.loads(json.dumps(fields, allow_nan=False))
    return {"fields": plain, "answers": base64.b64encode(buffer.getvalue()).decode("ascii")}


def from_payload(payload: Mapping[str, Any]) -> Baseline:
    """Return the baseline that :func:`payload_of` was given."""
    with np.load(io.BytesIO(base64.b64decode(payload["answers"])), allow_pickle=False) as arrays:
        return Baseline(answers=_answers(arrays, "cell"), **payload["fields"])


def cell_name_of(baseline: Baseline) -> str:
    """Return the name of the cell that a baseline is of."""
    return Cell(**baseline.cell).name


def _cell(name: str) -> dict[str, str]:
    return dict(zip(("model", "task", "quantizer", "calibrator"), name.split("::"), strict=True))


def _signature(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        raise BaselineRefusedError(f"{path}: there is no such baseline") from None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _contents(path: Path, *_: int) -> dict[str, Any]:
    """The JSON of a file, read once for all its cells."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineRefusedError(f"{path} is damaged and cannot be read ({error!r})") from None
    return contents if isinstance(contents, dict) else {}


@lru_cache(maxsize=8)
def _loaded(path: Path, *_: int) -> _Arrays:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        return dict(arrays)


def _answers_of(path: Path, cell: str, digest: str) -> TopLabelPredictions:
    sidecar = path.with_suffix(".npz")
    try:
        answers = _answers(_loaded(sidecar, *_signature(sidecar)), cell)
    except BaselineRefusedError:
        raise BaselineRefusedError(f"{sidecar} is missing; it holds the answers of {path.name}") from None
    except _DAMAGED as error:
        raise BaselineRefusedError(f"{sidecar} is damaged and cannot be read at {cell} ({error!r})") from None
    if _hash(answers) != digest:
        raise BaselineRefusedError(
            f"{sidecar} does not belong to {path.name}: the answers of {cell} are others"
        )
    return answers


def _present(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], _Arrays]:
    """What a suite's files hold: cells, what they share, metrics' definitions, answers.

    What is damaged holds nothing.
    """
    try:
        contents = _contents(path, *_signature(path))
        if contents["format"] != FORMAT:
            return {}, {}, {}, {}
        parts = [dict(contents[name]) for name in ("cells", "shared", "metrics")]
    except (BaselineRefusedError, KeyError, TypeError):
        return {}, {}, {}, {}
    sidecar = path.with_suffix(".npz")
    try:
        arrays = dict(_loaded(sidecar, *_signature(sidecar)))
    except (BaselineRefusedError, *_DAMAGED):
        arrays = {}
    return parts[0], parts[1], parts[2], arrays


def _line(name: str, baseline: Baseline) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A cell's line, what it shares with others, and how its metrics are defined."""
    plain = payload_of(baseline)["fields"]
    definitions, metrics = {}, {}
    for metric, kept in sorted(plain["metrics"].items()):
        which = f"{metric}#{key_of(kept['fingerprint'])[:8]}"
        definitions[which] = kept["fingerprint"]
        metrics[metric] = [kept["value"], which]
    common = {part: plain[part] for part in _SHARED}
    line = {"metrics": metrics, "shared": key_of(common)[:_N_DIGITS], "answers": _hash(baseline.answers)}
    return {**line, "checksum": _checksum(name, line)}, common, definitions


def _checksum(name: str, line: Mapping[str, Any]) -> str:
    return key_of({"cell": name, **{k: v for k, v in line.items() if k != "checksum"}})[:_N_DIGITS]


def _save(path: Path, cells: Any, shared: Any, definitions: Any, arrays: _Arrays) -> None:
    """Write both files, without what no cell refers to any more."""
    lines = [f"  {json.dumps(name)}: {json.dumps(cells[name])}" for name in sorted(cells)]
    used = {line["shared"] for line in cells.values()}
    defined = {which for line in cells.values() for _, which in line["metrics"].values()}
    head = {
        "format": FORMAT,
        "suite": path.stem,
        "metrics": {name: definitions[name] for name in sorted(defined & set(definitions))},
        "shared": {key: shared[key] for key in sorted(used & set(shared))},
    }
    text = json.dumps(head, indent=1)[: -len("\n}")] + ',\n "cells": {\n' + ",\n".join(lines) + "\n }\n}\n"
    kept = {name: array for name, array in arrays.items() if name.rpartition("/")[0] in cells}
    items = {f"items/{_items_key(kept, name)}" for name in cells}
    kept |= {name: arrays[name] for name in items & set(arrays)}
    with replacing(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: kept[name] for name in sorted(kept)})  # type: ignore[arg-type]
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _arrays(name: str, answers: TopLabelPredictions) -> _Arrays:
    """A cell's answers as arrays; the ids of its items are kept once for all cells that have these."""
    order = np.argsort(answers.item_ids)
    ids = answers.item_ids[order]
    key = hashlib.sha256("\n".join(ids.tolist()).encode()).hexdigest()[:_N_DIGITS]
    return {
        f"items/{key}": ids,
        f"{name}/items": np.array(key),
        f"{name}/confidences": answers.confidences[order].astype(np.float32),
        f"{name}/correct": np.packbits(answers.correct[order]),
    }


def _items_key(arrays: Mapping[str, Any], name: str) -> str:
    return str(arrays.get(f"{name}/items", ""))


def _answers(arrays: Mapping[str, Any], name: str) -> TopLabelPredictions:
    ids = arrays[f"items/{_items_key(arrays, name)}"]
    correct = np.unpackbits(arrays[f"{name}/correct"], count=len(ids)).astype(bool)
    confidences = arrays[f"{name}/confidences"].astype(np.float64)
    return TopLabelPredictions(ids.tolist(), confidences, correct)


def _answered(arrays: _Arrays, name: str, digest: str) -> bool:
    try:
        return _hash(_answers(arrays, name)) == digest
    except _DAMAGED:
        return False


def _hash(answers: TopLabelPredictions) -> str:
    order = np.argsort(answers.item_ids)
    digest = hashlib.sha256("\n".join(answers.item_ids[order].tolist()).encode())
    digest.update(answers.confidences[order].astype("<f4").tobytes())
    digest.update(np.packbits(answers.correct[order]).tobytes())
    return digest.hexdigest()[:_N_DIGITS]
