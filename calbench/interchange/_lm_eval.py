"""What lm-evaluation-harness writes with ``--log_samples``: the log-probability of every option."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calbench.errors import InputError
from calbench.interchange._origin import with_origin
from calbench.records import Predictions, head_of, json_document, json_rows

Scoring = Literal["sum", "per-character"]
_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
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
    named = sorted(path for path in folder.rglob("samples_*") if _is_log(path))
    # Before 0.4.3 the model's name stood where "samples" does.
    return named or sorted(path for path in folder.glob("*.json*") if _is_log(path))


def read_lm_eval(paths: str | Path | Iterable[str | Path], *, scoring: Scoring = "sum") -> Predictions:
    """Read the logged samples of a multiple-choice run into one record.

    The logits are the summed log-probabilities of the options, as the harness compares them for
    ``acc``; they need not sum to one over the options. Ids are ``task/doc_id``.

    Parameters
    ----------
    paths
        ``samples_*.jsonl`` files, one a subtask, or folders that hold them.
    scoring
        ``"sum"``, or ``"per-character"``: divided by the option's length, as for ``acc_norm``.

    Raises
    ------
    InputError
        A row cannot be read, is not multiple choice, or has another accuracy than the harness
        logged; two files are of one task; or the neighbouring ``results_*.json`` says otherwise.
    """
    files = _files(paths)
    if scoring not in _METRIC:
        raise InputError(f"scoring={scoring!r}; use 'sum' or 'per-character'")
    tasks: dict[str, Path] = {}
    rows: list[_Row] = []
    results: dict[Path, Mapping[str, Any]] = {}
    for path in files:
        task = _task(path)
        if task in tasks:
            raise InputError(
                f"{path}: {task} is also in {tasks[task].name}; pass the files of one run (say, by its date)"
            )
        tasks[task] = path
        found = [_row(path, number, task, sample, scoring) for number, sample in json_rows(path)]
        if not found:
            raise InputError(f"{path}: holds no samples")
        results.update(_checked_results(path, task, found, scoring))
        rows += found
    record = Predictions([row.id for row in rows], _padded(rows), [row.label for row in rows])
    facts = {"tasks": sorted(tasks), "scoring": scoring, **_facts(results)}
    checked = with_origin(record, [*files, *results], format_="lm-eval", facts=facts)
    assert isinstance(checked, Predictions)  # noqa: S101 (as it was)
    return checked


@dataclass(frozen=True)
class _Row:
    id: str
    scores: tuple[float, ...]
    label: int


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


def _task(path: Path) -> str:
    match = _SAMPLES.fullmatch(path.name)
    return match["task"] if match else path.stem.removeprefix("samples_")


def _row(path: Path, number: int, task: str, sample: Mapping[str, Any], scoring: Scoring) -> _Row:
    where = f"{path}: line {number}"
    try:
        options = _options(sample)
        scores = _scores(sample)
        if len(options) == 2 * len(scores) or len(scores) == 2 * len(options):
            scores = scores[: len(options)]
        if not options:
            options = [""] * len(scores)
        label = _label(sample["target"], options, len(scores))
        logged = sample.get(_METRIC[scoring])
        name = f"{task}/{sample['doc_id']}"
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"{where}: is no multiple-choice sample of lm-evaluation-harness"
            f" ({type(error).__name__}: {error}); it needs doc_id, target and filtered_resps"
        ) from None
    if scoring == "per-character":
        scores = [score / max(len(option), 1) for score, option in zip(scores, options, strict=True)]
    if isinstance(logged, int | float) and float(logged) != float(np.argmax(scores) == label):
        raise InputError(
            f"{where}: the best option is {int(np.argmax(scores))} and the target {label}, but"
            f" {_METRIC[scoring]} = {logged}; the scores are not what the harness compared"
        )
    return _Row(name, tuple(scores), label)


def _options(sample: Mapping[str, Any]) -> list[str]:
    """Return the texts of the options, from the requests that the harness logged (two spellings)."""
    requests = sample.get("arguments") or []
    if isinstance(requests, dict):
        requests = [[request["arg_0"], request["arg_1"]] for request in requests.values()]
    # With acc_mutual_info, every option is asked again without its context.
    asked = [request for request in requests if request[0] != ""] or requests
    return [str(request[1]).removeprefix(" ") for request in asked]


def _scores(sample: Mapping[str, Any]) -> list[float]:
    responses = sample["filtered_resps"]
    if not isinstance(responses, list) or len(responses) < 2:
        raise InputError(
            "filtered_resps has no score per option; a task that generates text has no class vector:"
            " import its answers and confidences by --columns instead"
        )
    scores = []
    for response in responses:
        value = response[0] if isinstance(response, list) else response
        if isinstance(value, list):  # unfiltered: one more level
            value = value[0]
        if isinstance(value, bool):
            raise InputError(f"filtered_resps holds {value!r} where a log-probability belongs")
        score = float(value)
        if math.isnan(score) or score == math.inf:
            raise InputError(f"filtered_resps holds {value!r}, which is no log-probability")
        scores.append(score)
    return scores


def _label(target: Any, options: list[str], n_scores: int) -> int:
    """Return the index of the right option; the harness logs it as a number or as the option's text."""
    if len(options) != n_scores:
        raise InputError(f"there are {n_scores} scores for {len(options)} options")
    if isinstance(target, list):
        if len(target) != 1:
            raise InputError(f"the target {target!r} names {len(target)} options; one is needed")
        target = target[0]
    text = str(target).strip()
    if text.isdecimal():
        label = int(text)
    elif text in (stripped := [option.strip() for option in options]):
        label = stripped.index(text)
    else:
        raise InputError(f"the target {target!r} is neither an index nor one of the options")
    if label >= len(options):
        raise InputError(f"the target {target!r} is not among the {len(options)} options")
    return label


def _padded(rows: list[_Row]) -> Any:
    width = max(len(row.scores) for row in rows)
    return [[*row.scores, *[-math.inf] * (width - len(row.scores))] for row in rows]


def _checked_results(
    path: Path, task: str, rows: list[_Row], scoring: Scoring
) -> dict[Path, Mapping[str, Any]]:
    """Return the run's results file, if it is there and agrees with the samples."""
    match = _SAMPLES.fullmatch(path.name)
    neighbour = path.with_name(f"results_{match['date']}.json") if match else None
    if neighbour is None or not neighbour.is_file():
        return {}
    content = json_document(neighbour)
    try:
        reported = content["results"].get(task, {}).get(f"{_METRIC[scoring]},none")
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{neighbour}: is no results file of lm-evaluation-harness ({error!r})") from None
    if not isinstance(reported, int | float):
        return {neighbour: content}
    found = float(np.mean([np.argmax(row.scores) == row.label for row in rows]))
    if abs(found - reported) > 1e-9:
        raise InputError(
            f"{path}: {_METRIC[scoring]} over its {len(rows)} samples is {found:.6g}, but"
            f" {neighbour.name} reports {reported:.6g} for {task}; the files are not of one run"
        )
    return {neighbour: content}


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
        }
        for name, value in said.items():
            known = facts.setdefault(name, value) if value is not None else None
            if known != value and name in ("model", "model_args"):
                raise InputError(
                    f"{path}: its {name} is {value!r}, and that of another file {known!r}; a record is of"
                    " one model: pass the files of one run"
                )
    return facts
