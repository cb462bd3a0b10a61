"""What the plugin's options ask for: their texts read and checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from calbench.gates import MOST_FOLDS
from calbench.pytest_options import OPTIONS, PREFIX, flag_of, text_of


@dataclass(frozen=True)
class Options:
    """What the command line and the ini file ask for; a field's name is the option's.

    Attributes
    ----------
    models, quantizers, tasks, calibrators
        Selections, as written; None where nothing is selected.
    chat, multiturn
        How causal models are asked.
    profile, items, folds, seeds, bootstrap_seed, level, resamples
        How much is measured, and how.
    inconclusive, correction
        What becomes of gates.
    report, store, records, baseline
        Folders.
    update_baseline
        Whether to accept today's numbers.
    device, replay
        Where models run, and whether any may be loaded.
    lm_eval_include, trust_lm_eval_code
        A folder of task files of lm-evaluation-harness, and whether code that they name may run.
    """

    models: str | None
    quantizers: str | None
    tasks: str | None
    calibrators: str | None
    chat: str | None
    multiturn: str | None
    profile: str
    items: int | None
    folds: int
    seeds: tuple[int, ...]
    bootstrap_seed: int | None
    level: float
    resamples: int
    inconclusive: str
    correction: str
    report: Path | None
    store: Path | str | None
    records: Path | None
    baseline: Path | None
    update_baseline: bool
    device: str | None
    lm_eval_include: Path | None
    trust_lm_eval_code: bool
    replay: bool


def read_options(config: pytest.Config) -> Options:
    """Return the options' values; the command line goes before the ini file.

    Raises
    ------
    pytest.UsageError
        A value cannot be used; the message names the option or the ini key.
    """
    return Options(**{field.name: _value(config, field.name) for field in fields(Options)})


def check_writable(config: pytest.Config, name: str, folder: Path) -> None:
    """Raise :class:`pytest.UsageError` where an option's folder cannot be made or written to."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise pytest.UsageError(
            f"{_named(config, name)} {folder}: cannot be written ({error.strerror}); name another folder"
        ) from None


def _value(config: pytest.Config, name: str) -> Any:
    option, text = OPTIONS[name], text_of(config, name)
    if text is None:
        return option.default
    if option.is_folder:
        return _folder(config, name, text)
    try:
        return _read(name, text)
    except ValueError as error:
        raise pytest.UsageError(f"{_named(config, name)} {text!r}: {error}") from None


def _read(name: str, text: str) -> Any:
    option = OPTIONS[name]
    if option.choices and text not in option.choices:
        raise ValueError(f"choose from {', '.join(option.choices)}")
    return _flag(text) if option.is_flag else _READ.get(name, str)(text)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(_not_negative(part) for part in text.split(",")))
    except ValueError:
        raise ValueError("write whole numbers separated by commas") from None


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("write a whole number, 0 or more")
    return number


def _items(text: str) -> int:
    number = sys.maxsize if text == "all" else int(text) if text.isdecimal() else 0
    if number < 1:
        raise ValueError("write a whole number of test items, 1 or more, or all")
    return number


def _folds(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= MOST_FOLDS:
        raise ValueError(f"write a whole number from 1 (one split) to {MOST_FOLDS}")
    return number


def _resamples(text: str) -> int:
    number = int(text)
    if not 100 <= number <= 100_000:
        raise ValueError("write a whole number from 100 to 100000")
    return number


def _level(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise ValueError("write a share between 0 and 1, such as 0.95")
    return number


def _flag(text: str) -> bool:
    try:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
    except KeyError:
        raise ValueError("write true or false") from None


# The others are text.
_READ: Mapping[str, Callable[[str], Any]] = {
    "items": _items,
    "folds": _folds,
    "seeds": _seeds,
    "bootstrap_seed": _not_negative,
    "level": _level,
    "resamples": _resamples,
}


def _named(config: pytest.Config, name: str) -> str:
    if config.getoption(PREFIX + name) is None:
        return f"{config.inipath}: {PREFIX}{name}:"
    return f"{flag_of(name)}:"


def _folder(config: pytest.Config, name: str, text: str) -> Path | str:
    """Return an absolute path: an ini file's are relative to it, the command line's to where it was typed.

    A store's address is left as it is.
    """
    if name == "store" and "://" in text:
        return text
    from_ini = config.getoption(PREFIX + name) is None
    start = config.inipath.parent if from_ini and config.inipath else config.invocation_params.dir
    path = start / Path(text).expanduser()
    try:
        is_taken = path.exists() and not path.is_dir()
    except OSError as error:  # inside a folder that may not be entered
        raise pytest.UsageError(f"{_named(config, name)} {text}: {error.strerror}") from None
    if is_taken:
        raise pytest.UsageError(f"{_named(config, name)} {text}: there is a file of that name")
    return path
