"""What lm-evaluation-harness writes with ``--log_samples``: the log-probability of every option."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calbench.errors import InputError
from calbench.interchange._harness_samples import NotOneChoiceError, Sample, read_sample
from calbench.interchange._origin import with_origin
from calbench.records import (
    AnyRecord,
    ColumnNames,
    Predictions,
    TopLabelPredictions,
    head_of,
    json_document,
    json_rows,
    labels_of,
)

Scoring = Literal["sum", "per-character"]
_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl?(?:\.gz)?")
_BEGINS = re.compile(r'\s*\[?\s*\{\s*"doc_id":\s*\d+,\s*"doc":')
# The harness's own accuracy, for each way to score the options.
_METRIC = {"sum": "acc", "per-character": "acc_norm"}


def is_samples(path: Path) -> bool:
    """Whether a file is a log of samples, by its name or by how it begins; or a folder that holds one."""
    return bool(_inside(path)) if path.is_dir() else _is_log(path)


def _is_log(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    if not name.endswith((".jsonl", ".json")) or name.startswith("results"):
        return False
    return name.startswith("samples_") or _BEGINS.match(head_of(path)) is not None


def _inside(folder: Path) -> list[Path]:
    named = sorted(path for path in folder.rglob("samples_*") if path.is_file() and _is_log(path))
    # Before 0.4.3 the model's name stood where "samples" does.
    return named or sorted(path for path in folder.glob("*.json*") if path.is_file() and _is_log(path))


def tasks_of(paths: Iterable[Path]) -> list[str]:
    """Return the tasks of which files and folders hold logs of samples."""
    logs = [path for path in paths if path.exists() and is_samples(path)]
    return sorted({_opened(path).task for path in _files(logs)}) if logs else []


def read_lm_eval(
    paths: str | Path | Iterable[str | Path],
    *,
    scoring: Scoring = "sum",
    tasks: Sequence[str] = (),
    columns: ColumnNames | None = None,
) -> AnyRecord:
    """Read the logged samples of a multiple-choice run into one record.

    The logits are the summed log-probabilities of the options, as the harness compares them for
    ``acc``; they need not sum to one over the options. Ids are ``task/doc_id``. Where an item has
    several right answers, the record is of the top answer. What is left out is among the notes.

    Parameters
    ----------
    paths
        ``samples_*.jsonl`` files, one a subtask, or folders that hold them.
    scoring
        ``"sum"``, or ``"per-character"``: divided by the option's length, as for ``acc_norm``.
    tasks
        Names or patterns of the tasks to read; all if empty.
    columns
        Where the right answer stands, such as ``label="doc.answer"``, if the log's own target does
        not say it.

    Raises
    ------
    InputError
        A row cannot be read, is not multiple choice, or has another accuracy than the harness
        logged; two files are of one task; or the neighbouring ``results_*.json`` says otherwise.
    """
    if scoring not in _METRIC:
        raise InputError(f"scoring={scoring!r}; use 'sum' or 'per-character'")
    files = _chosen([_opened(path) for path in _files(paths)], tasks)
    read: list[_File] = []
    notes: list[str] = []
    left_out: list[NotOneChoiceError] = []
    for file in files:
        try:
            read.append(_samples(file, scoring, columns or ColumnNames(), notes))
        except NotOneChoiceError as error:  # noqa: PERF203 (a few files; one more may be read)
            left_out.append(error)
            notes.append(f"{file.task} was left out: it is no multiple choice with one pick")
    if not read:
        raise left_out[0]
    samples = [sample for file in read for sample in file.samples]
    results = {file.results_path: file.results for file in read if file.results_path is not None}
    facts: dict[str, Any] = {
        "tasks": sorted(file.task for file in read),
        "scoring": scoring,
        **_facts(results),
    }
    facts["item_hashes"] = {s.id: [s.question, s.prompt] for s in samples if s.question or s.prompt}
    record = _record(samples, notes)
    if notes:
        facts["notes"] = notes
    sources = [*(file.path for file in read), *results]
    return with_origin(record, sources, format_="lm-eval", facts=facts)


@dataclass(frozen=True)
class _File:
    path: Path
    task: str
    results_path: Path | None
    results: Mapping[str, Any]
    samples: tuple[Sample, ...] = ()


def _record(samples: list[Sample], notes: list[str]) -> AnyRecord:
    ids, padded = [sample.id for sample in samples], _padded(samples)
    several = sum(len(sample.right or ()) > 1 for sample in samples)
    if not several:
        return Predictions(ids, padded, [sample.right[0] for sample in samples if sample.right])
    notes.append(f"{several:,} items have several right answers: only the confidence of each answer is kept")
    whole = Predictions(ids, padded, [0] * len(ids))
    correct = [int(np.argmax(s.scores)) in (s.right or ()) for s in samples]
    return TopLabelPredictions(ids, whole.confidences, correct)


def _files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += _inside(path)
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file")
    if not files:
        raise InputError(
            f"{', '.join(map(str, given)) or 'no path'}: a folder without samples_*.jsonl; name a file of"
            " predictions, or run lm_eval with --log_samples"
        )
    return files


def _opened(path: Path) -> _File:
    match = _SAMPLES.fullmatch(path.name)
    neighbour = path.with_name(f"results_{match['date']}.json" if match else "results.json")
    results: Any = json_document(neighbour) if neighbour.is_file() else {}
    if neighbour.is_file() and not (isinstance(results, dict) and isinstance(results.get("results"), dict)):
        raise InputError(f"{neighbour}: is no results file of lm-evaluation-harness; move it away")
    stem = path.name.split(".json")[0].removeprefix("samples_")
    known = [name for name in results.get("results", {}) if stem.endswith(f"_{name}")]
    task = match["task"] if match else max(known, key=len, default=stem)
    return _File(path, task, neighbour if results else None, results)


def _chosen(files: list[_File], patterns: Sequence[str]) -> list[_File]:
    tasks: dict[str, Path] = {}
    wanted = [f for f in files if not patterns or any(fnmatchcase(f.task, p) for p in patterns)]
    if not wanted:
        there = ", ".join(sorted({file.task for file in files}))
        raise InputError(
            f"{files[0].path}: no task is like {', '.join(patterns)}; with tasks= there is {there}"
        )
    for file in wanted:
        if file.task in tasks:
            raise InputError(
                f"{file.path}: {file.task} is also in {tasks[file.task].name}; pass the files of one run"
                " (say,"
                " by its date)"
            )
        tasks[file.task] = file.path
    return wanted


def _samples(file: _File, scoring: Scoring, columns: ColumnNames, notes: list[str]) -> _File:
    rows = _one_filter(file, list(json_rows(file.path)), notes)
    if not rows:
        raise InputError(f"{file.path}: holds no samples; run lm_eval with --log_samples")
    samples: list[Sample] = []
    failed: NotOneChoiceError | None = None
    for number, row in rows:
        try:
            samples.append(_read(file, number, row, mapped=columns.label is not None))
        except NotOneChoiceError as error:  # noqa: PERF203 (all rows are of one kind, or it is an error)
            failed = failed or error
    if failed is not None:
        raise failed if not samples else InputError(str(failed))
    if columns.label is not None:
        samples = _relabelled(file.path, samples, [row for _, row in rows], columns)
    if scoring == "per-character":
        delimiter = _delimiter(file, samples)
        samples = [_per_character(file.path, sample, delimiter) for sample in samples]
    for (number, _), sample in zip(rows, samples, strict=True):
        _check(f"{file.path}: line {number}", sample, _METRIC[scoring])
    _check_results(file, samples, _METRIC[scoring])
    return replace(file, samples=tuple(samples))


def _one_filter(
    file: _File, rows: list[tuple[int, dict[str, Any]]], notes: list[str]
) -> list[tuple[int, dict[str, Any]]]:
    filters = list(dict.fromkeys(str(row.get("filter", "none")) for _, row in rows))
    if len(filters) < 2:
        return rows
    kept = "none" if "none" in filters else filters[0]
    others = ", ".join(name for name in filters if name != kept)
    notes.append(f"{file.task}: samples of the filter {others} were left out beside those of {kept}")
    return [(number, row) for number, row in rows if str(row.get("filter", "none")) == kept]


def _read(file: _File, number: int, row: Mapping[str, Any], *, mapped: bool) -> Sample:
    where = f"{file.path}: line {number}"
    try:
        return read_sample(row, file.task, mapped=mapped)
    except InputError as error:
        raise type(error)(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{where}: is no multiple-choice sample of lm-evaluation-harness"
            f" ({type(error).__name__}: {error}); it needs doc_id, target and filtered_resps"
        ) from None


def _relabelled(
    path: Path, samples: list[Sample], rows: list[dict[str, Any]], columns: ColumnNames
) -> list[Sample]:
    width = max(len(sample.scores) for sample in samples)
    labels = labels_of(path, rows, columns, n_classes=width)
    return [replace(sample, right=(int(label),)) for sample, label in zip(samples, labels, strict=True)]


def _delimiter(file: _File, samples: list[Sample]) -> str:
    """Return what stands between a context and an option, and is no part of the option."""
    configs = file.results.get("configs")
    config = configs.get(file.task) if isinstance(configs, dict) else None
    declared = config.get("target_delimiter") if isinstance(config, dict) else None
    if isinstance(declared, str):
        return declared
    blanks = {option[: len(option) - len(option.lstrip())] for s in samples for option in s.options}
    if len(blanks) > 1:
        raise InputError(
            f"{file.path}: its options begin with different blanks, so that what divides them from the"
            " question is not known; put the run's results_*.json beside it, or leave out scoring="
        )
    return blanks.pop() if blanks else ""


def _per_character(path: Path, sample: Sample, delimiter: str) -> Sample:
    try:
        return replace(sample, scores=sample.per_character(delimiter))
    except InputError as error:
        raise InputError(f"{path}: {sample.id}: {error}") from None


def _check(where: str, sample: Sample, metric: str) -> None:
    best = int(np.argmax(sample.scores))
    if sample.right is None:
        raise InputError(
            f"{where}: does not say which option is right; say where that stands with"
            " ColumnNames(label='doc.NAME'), and ColumnNames(label_start=1) if it counts from 1"
        )
    if max(sample.right) >= len(sample.scores):
        raise InputError(
            f"{where}: option {max(sample.right)} is right, of {len(sample.scores)}; mend the row"
        )
    logged = sample.logged.get(metric)
    if logged is not None and logged != float(best in sample.right):
        shown = sample.right[0] if len(sample.right) == 1 else list(sample.right)
        raise InputError(
            f"{where}: the best option is {best} and the target {shown}, but {metric} = {logged}; the scores"
            " are not what the harness compared, or ColumnNames(label=...) is not what it asked for"
        )


def _padded(samples: list[Sample]) -> Any:
    width = max(len(sample.scores) for sample in samples)
    return [[*sample.scores, *[-math.inf] * (width - len(sample.scores))] for sample in samples]


def _check_results(file: _File, samples: list[Sample], metric: str) -> None:
    """Refuse samples of another accuracy than the run's results file says."""
    said = file.results.get("results", {}).get(file.task)
    reported = said.get(f"{metric},none") if isinstance(said, dict) else None
    if file.results_path is None or not isinstance(reported, int | float):
        return
    found = float(np.mean([int(np.argmax(sample.scores)) in (sample.right or ()) for sample in samples]))
    if abs(found - reported) > 1e-9:
        raise InputError(
            f"{file.path}: {metric} over its {len(samples)} samples is {found:.6g}, but"
            f" {file.results_path.name} reports {reported:.6g} for {file.task}; the files are not of one run:"
            " keep those of one run in the folder"
        )


def _facts(results: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the results files say about the run; a record is of one model."""
    facts: dict[str, Any] = {}
    for path, content in results.items():
        config = content.get("config")
        config = config if isinstance(config, dict) else {}
        said = {
            "model": content.get("model_name"),
            "model_args": config.get("model_args"),
            "lm_eval_version": content.get("lm_eval_version"),
            "n_shot": content.get("n-shot"),
            "chat_template": content.get("chat_template_sha"),
        }
        for name, value in said.items():
            known = facts.setdefault(name, value) if value is not None else None
            if known != value and name in ("model", "model_args"):
                raise InputError(
                    f"{path}: its {name} is {value!r}, and that of another file {known!r}; a record is of"
                    " one model: pass the files of one run"
                )
    return facts
