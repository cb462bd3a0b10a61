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
from calbench.interchange._origin import with_origin
from calbench.records import AnyRecord, Predictions, TopLabelPredictions, json_document, reading

_VERSION = 2  # of the log format
_MAX_MEMBER_BYTES = 2**30
_ZSTANDARD = 93  # of zip's compression methods; zipfile cannot read it before Python 3.14
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_RIGHT = {"C": True, "I": False, 1: True, 0: False}  # 1 is 1.0 and True as well


def is_inspect(path: Path) -> bool:
    """Whether a file is a log of inspect_ai, by its suffix or by how its JSON begins."""
    if path.suffix == ".eval":
        return True
    if path.suffix != ".json":
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return b'"status"' in head and b'"eval"' in head and b'"version"' in head


def read_inspect(paths: str | Path | Iterable[str | Path], *, scorer: str | None = None) -> AnyRecord:
    """Read the samples of inspect_ai logs into one record.

    Where every sample's answer is a letter among its choices and the log holds the log-probability
    of each letter (``--logprobs --top-logprobs 20``), the record is a class vector. Otherwise it is
    of the top answer: the probability of the answer's letter, or of a generated text the
    exponential of its mean token log-probability.

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
    answers: list[_Answer] = []
    n_failed = 0
    facts: dict[str, Any] = {}
    for path in given:
        header, samples = _log(path)
        task = str(header["eval"].get("task", path.stem))
        model = str(header["eval"].get("model", ""))
        if facts.get("model", model) != model:
            raise InputError(
                f"{path}: is of the model {model!r}, and another log of {facts['model']!r}; a record is of"
                " one model: pass the logs of one"
            )
        facts |= {"model": model, "task": task}
        for sample in samples:
            if sample.get("error") or not sample.get("scores"):
                n_failed += 1
                continue
            answers.append(_answer(path, task if len(given) > 1 else "", sample, scorer))
    if not answers:
        raise InputError(f"{', '.join(map(str, given))}: no sample has a score")
    record = _record(answers)
    vectors = isinstance(record, Predictions)
    facts |= {"n_unscored_samples": n_failed, "confidence": "per option" if vectors else "of the answer"}
    return with_origin(record, given, format_="inspect_ai", facts=facts)


@dataclass(frozen=True)
class _Answer:
    id: str
    correct: bool
    confidence: float
    options: tuple[float, ...] | None  # log-probability of each letter, if all are known
    label: int | None


def _record(answers: list[_Answer]) -> AnyRecord:
    ids = [answer.id for answer in answers]
    vectors = [a.options for a in answers if a.options is not None and a.label is not None]
    sampled_best = all(
        a.options is not None and (int(np.argmax(a.options)) == a.label) == a.correct for a in answers
    )
    if len(vectors) < len(answers) or not sampled_best:
        return TopLabelPredictions(ids, [a.confidence for a in answers], [a.correct for a in answers])
    width = max(map(len, vectors))
    padded = [[*vector, *[-math.inf] * (width - len(vector))] for vector in vectors]
    return Predictions(ids, padded, [a.label for a in answers])  # type: ignore[arg-type]


def _answer(path: Path, task: str, sample: Mapping[str, Any], scorer: str | None) -> _Answer:
    where = f"{path}: sample {sample.get('id')!r}"
    try:
        score = _score(sample, scorer)
        tokens = _tokens(sample)
        letters = [chr(ord("A") + k) for k in range(len(sample.get("choices") or ()))]
        answer = str(score.get("answer") or "").strip()
        found = next((t for t in reversed(tokens) if str(t["token"]).strip() == answer), None)
        if letters and found is not None:
            confidence = math.exp(min(float(found["logprob"]), 0.0))
            options = _options(found, letters)
        else:
            mean = float(np.mean([float(token["logprob"]) for token in tokens]))
            confidence, options = math.exp(min(mean, 0.0)), None
        target = sample.get("target")
        target = target[0] if isinstance(target, list) and len(target) == 1 else target
        label = letters.index(target) if target in letters else None
        name = f"{task}/{sample['id']}" if task else str(sample["id"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{where}: cannot be read ({type(error).__name__}: {error})") from None
    if math.isnan(confidence):
        raise InputError(f"{where}: a log-probability is not a number")
    return _Answer(name, _RIGHT[score["value"]], confidence, options, label)


def _score(sample: Mapping[str, Any], scorer: str | None) -> Mapping[str, Any]:
    if sample.get("epoch", 1) != 1:
        raise InputError("is of a second epoch; items must be independent: run with --epochs 1")
    scores = sample["scores"]
    if scorer is None and len(scores) > 1:
        raise InputError(f"has {len(scores)} scorers; choose one of {', '.join(scores)}")
    name = scorer or next(iter(scores))
    if name not in scores:
        raise InputError(f"has no scorer {name!r}; there are {', '.join(scores)}")
    chosen: Mapping[str, Any] = scores[name]
    value = chosen["value"]
    if isinstance(value, dict | list) or value not in _RIGHT:
        raise InputError(f"the score {value!r} is neither right (C, 1) nor wrong (I, 0)")
    return chosen


def _tokens(sample: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = sample["output"].get("choices") or [{}]
    tokens = (choices[0].get("logprobs") or {}).get("content")
    if not tokens:
        raise InputError(
            "has no log-probabilities; run inspect eval with --logprobs (and --top-logprobs 20), or import"
            " confidences from a file of your own with --columns"
        )
    return list(tokens)


def _options(token: Mapping[str, Any], letters: list[str]) -> tuple[float, ...] | None:
    """Return the log-probability of each letter, summed over its spellings; None if one is missing."""
    found: dict[str, list[float]] = {}
    for top in token.get("top_logprobs") or ():
        found.setdefault(str(top["token"]).strip(), []).append(float(top["logprob"]))
    if not all(letter in found for letter in letters):
        return None
    return tuple(float(np.logaddexp.reduce(found[letter])) for letter in letters)


def _log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    header: Any
    samples: Any
    if path.suffix == ".eval":
        with reading(path, "an inspect_ai log"):
            header, samples = _unzipped(path)
    else:
        header = json_document(path)
        samples = header.get("samples") if isinstance(header, dict) else None
    if not isinstance(header, dict) or not isinstance(header.get("eval"), dict):
        raise InputError(f"{path}: is no log of inspect_ai")
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
            raise InputError(f"{path}: the run was not finished (it has no header.json)")
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
        raise ValueError(f"{info.filename} does not match its checksum")
    return bytes(content)
