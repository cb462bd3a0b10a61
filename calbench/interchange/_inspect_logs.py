"""Logs of inspect_ai: ``.json``, or ``.eval``, which is a zip of JSON files."""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from calbench.errors import InputError
from calbench.interchange._answer_place import Place, answer_place, option_scores
from calbench.interchange._origin import with_origin
from calbench.records import (
    AnyRecord,
    Predictions,
    TopLabelPredictions,
    head_of,
    json_document,
    kind_of_content,
    reading,
)

_VERSION = 2  # of the log format
_MAX_MEMBER_BYTES = 2**30
_ZSTANDARD = 93  # of zip's compression methods; zipfile cannot read it before Python 3.14
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_RIGHT = {"C": True, "I": False, "N": False, 1: True, 0: False}  # N: no answer; 1 is 1.0 and True too


def is_inspect(path: Path) -> bool:
    """Whether a file is a log of inspect_ai, by its content."""
    if path.is_dir():
        return False
    if kind_of_content(path) == "inspect":
        return True
    head = head_of(path)[:4096]
    return head.lstrip().startswith("{") and all(
        f'"{name}"' in head for name in ("status", "eval", "version")
    )


def read_inspect(paths: str | Path | Iterable[str | Path], *, scorer: str | None = None) -> AnyRecord:
    """Read the samples of inspect_ai logs into one record.

    Where samples have choices, the answer's own place among the tokens is looked for, and what could
    not be found is left out, counted and named. If the log holds the log-probability of each letter
    there (``--logprobs --top-logprobs 20``), the record is a class vector. Otherwise it is of the top
    answer, and the reason is among its notes: the probability of the answer's letter. Of texts it is
    the exponential of the mean token log-probability. A record holds one of the three.

    Parameters
    ----------
    paths
        ``.eval`` or ``.json`` logs.
    scorer
        Which scorer says what is right, if there are several.

    Raises
    ------
    InputError
        A log is newer than this reader, holds no log-probabilities, several epochs or scores
        that are neither right nor wrong, or is of another model than the one before it.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    samples: list[_Sample] = []
    n_failed = 0
    shuffled = False
    facts: dict[str, Any] = {}
    for path in given:
        header, entries = _log(path)
        task = str(header["eval"].get("task", path.stem))
        model = str(header["eval"].get("model", ""))
        if facts.get("model", model) != model:
            raise InputError(
                f"{path}: is of the model {model!r}, and another log of {facts['model']!r}; a record is of"
                " one model: pass the logs of one"
            )
        facts |= {"model": model, "task": task}
        shuffled = shuffled or _is_shuffled(header)
        for entry in entries:
            if entry.get("error") or not entry.get("scores"):
                n_failed += 1
                continue
            samples.append(_sample(path, task if len(given) > 1 else "", entry, scorer))
    shown = ", ".join(map(str, given))
    if not samples:
        raise InputError(f"{shown}: no sample has a score; run inspect score, or inspect eval with a scorer")
    try:
        record, kind, notes = _record(samples, shuffled=shuffled)
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None
    facts |= {"n_unscored_samples": n_failed, "confidence": kind}
    if notes:
        facts["notes"] = notes
    return with_origin(record, given, format_="inspect_ai", facts=facts)


@dataclass(frozen=True)
class _Sample:
    id: str
    correct: bool
    letters: tuple[str, ...]  # of its choices
    answer: str
    label: int | None
    place: Place | None  # of the answer, where there are choices
    mean: float  # of the tokens' log-probabilities


def _record(samples: list[_Sample], *, shuffled: bool) -> tuple[AnyRecord, str, list[str]]:
    """Return one record of one kind of confidence, what kind it is, and what was left out and why."""
    asked = [sample for sample in samples if sample.letters]
    if not any(sample.answer in sample.letters for sample in asked):
        texts = [(s.id, math.exp(min(s.mean, 0.0)), s.correct) for s in samples]
        ids, confidences, correct = (list(part) for part in zip(*texts, strict=True))
        return TopLabelPredictions(ids, confidences, correct), "of the text", []
    if len(asked) < len(samples):
        raise InputError(
            f"{len(asked)} samples have choices and {len(samples) - len(asked)} have none, whose confidences"
            " are of another kind; log them apart, or give confidences of your own with ColumnNames(...)"
        )
    read = [sample for sample in samples if sample.place is not None]
    notes = []
    if len(read) < len(samples):
        lost = [sample.id for sample in samples if sample.place is None]
        shown = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
        notes.append(
            f"{len(lost):,} samples were left out: their answer has no place of its own among the tokens"
            f" ({shown})"
        )
    if not read:
        raise InputError("no sample's answer has a place of its own among its tokens; ask for ANSWER: LETTER")
    reason = "choices were shuffled" if shuffled else _no_vectors(read)
    if reason:
        notes.append(f"only the confidence of each answer is known: {reason}")
        confidences = [math.exp(min(float(s.place.token["logprob"]), 0.0)) for s in read if s.place]
        ids, correct = [s.id for s in read], [s.correct for s in read]
        return TopLabelPredictions(ids, confidences, correct), "of the answer", notes
    vectors = [option_scores(s.place.token, s.letters)[0] for s in read if s.place]
    width = max(map(len, vectors))
    padded = [[*vector.values(), *[-math.inf] * (width - len(vector))] for vector in vectors]
    labels: Any = [sample.label for sample in read]
    return Predictions([sample.id for sample in read], padded, labels), "per option", notes


def _no_vectors(samples: list[_Sample]) -> str:
    """Return why there are no class vectors; ``""`` if there are."""
    for sample in samples:
        assert sample.place is not None  # noqa: S101 (only those that were read)
        scores, missing = option_scores(sample.place.token, sample.letters)
        if sample.place.letter != sample.answer:
            return f"sample {sample.id!r} says {sample.place.letter} and was scored as {sample.answer}"
        if missing is not None:
            return (
                f"sample {sample.id!r} has no log-probability of {missing}; run inspect eval with"
                " --top-logprobs 20 for class vectors"
            )
        if sample.label is None:
            return f"the target of sample {sample.id!r} is no single letter of its choices"
        best = max(scores, key=lambda letter: scores[letter])
        if (sample.letters.index(best) == sample.label) != sample.correct:
            return f"sample {sample.id!r} did not answer {best}, its most probable option"
    return ""


def _is_shuffled(header: Mapping[str, Any]) -> bool:
    """Whether the solver shuffled the choices, so that a token's letter is not the choice's."""
    plan = header.get("plan")
    steps = plan.get("steps") if isinstance(plan, dict) else None
    params = [step.get("params") for step in steps or () if isinstance(step, dict)]
    return any(isinstance(given, dict) and given.get("shuffle") not in (None, False) for given in params)


def _sample(path: Path, task: str, sample: Mapping[str, Any], scorer: str | None) -> _Sample:
    where = f"{path}: sample {sample.get('id')!r}"
    try:
        score = _score(sample, scorer)
        tokens = _tokens(sample)
        letters = tuple(chr(ord("A") + k) for k in range(len(sample.get("choices") or ())))
        answer = str(score.get("answer") or "").strip()
        target = sample.get("target")
        target = target[0] if isinstance(target, list) and len(target) == 1 else target
        mean = float(np.mean([float(token["logprob"]) for token in tokens]))
        place = answer_place(tokens, answer) if answer in letters else None
        if place is not None:  # so that what is odd is named here
            option_scores(place.token, letters)
        name = f"{task}/{sample['id']}" if task else str(sample["id"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{where}: cannot be read ({type(error).__name__}: {error})") from None
    if math.isnan(mean):
        raise InputError(f"{where}: a log-probability is not a number; run it again")
    label = letters.index(target) if target in letters else None
    return _Sample(name, _RIGHT[score["value"]], letters, answer, label, place, mean)


def _score(sample: Mapping[str, Any], scorer: str | None) -> Mapping[str, Any]:
    if sample.get("epoch", 1) != 1:
        raise InputError("is of a second epoch; items must be independent: run inspect eval with --epochs 1")
    scores = sample["scores"]
    if scorer is None and len(scores) > 1:
        raise InputError(f"has {len(scores)} scorers; choose one of {', '.join(scores)}")
    name = scorer or next(iter(scores))
    if name not in scores:
        raise InputError(f"has no scorer {name!r}; choose one of {', '.join(scores)}")
    chosen: Mapping[str, Any] = scores[name]
    value = chosen["value"]
    if isinstance(value, dict | list) or value not in _RIGHT:
        raise InputError(
            f"the score {value!r} is neither right (C, 1) nor wrong (I, 0); name another scorer, or score the"
            " log with one of the two"
        )
    return chosen


def _tokens(sample: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = sample["output"].get("choices") or [{}]
    tokens = (choices[0].get("logprobs") or {}).get("content")
    if not tokens:
        raise InputError(
            "has no log-probabilities; run inspect eval with --logprobs (and --top-logprobs 20), or import"
            " confidences from a file of your own with ColumnNames(...)"
        )
    return list(tokens)


def _log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    header: Any
    samples: Any
    if kind_of_content(path) == "inspect":
        with reading(path, "an inspect_ai log"):
            header, samples = _unzipped(path)
    else:
        header = json_document(path)
        samples = header.get("samples") if isinstance(header, dict) else None
    if not isinstance(header, dict) or not isinstance(header.get("eval"), dict):
        raise InputError(f"{path}: is no log of inspect_ai; name a .eval file or a .json log")
    version = header.get("version")
    if not isinstance(version, int) or version > _VERSION:
        raise InputError(
            f"{path}: is a log of format {version!r}, and this calbench reads up to {_VERSION}; update"
            " calbench, or write the log with an older inspect_ai"
        )
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise InputError(f"{path}: holds no samples (was it written with --no-log-samples?)")
    return header, samples


def _unzipped(path: Path) -> tuple[Any, list[Any]]:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if "header.json" not in members:
            raise InputError(
                f"{path}: the run was not finished (it has no header.json); finish it with inspect eval-retry"
            )
        header = json.loads(_member(file, archive, members["header.json"]))
        names = sorted(name for name in members if name.startswith("samples/"))
        return header, list(_parsed(file, archive, (members[name] for name in names)))


def _parsed(file: BinaryIO, archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo]) -> Iterator[Any]:
    for info in infos:
        yield json.loads(_member(file, archive, info))


def _member(file: BinaryIO, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > _MAX_MEMBER_BYTES:
        raise InputError(f"{info.filename} unpacks to {info.file_size:,} bytes; that is no sample")
    if info.compress_type != _ZSTANDARD:
        return archive.read(info)
    import pyarrow as pa

    file.seek(info.header_offset)
    fields = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(fields[-2] + fields[-1], 1)  # the name, and what follows it
    packed = file.read(info.compress_size)
    content = pa.decompress(packed, decompressed_size=info.file_size, codec="zstd", asbytes=True)
    if zlib.crc32(content) != info.CRC:
        raise ValueError(f"{info.filename} does not match its checksum; copy the file again")
    return bytes(content)
