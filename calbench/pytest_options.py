"""Options of the pytest plugin: each one on the command line and as an ini key.

Imported by every pytest run of an environment, so it imports nothing but pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

PREFIX = "calbench_"


@dataclass(frozen=True)
class Options:
    """What the command line and the ini file ask for; a field's name is the option's.

    Attributes
    ----------
    models, quantizers, tasks, calibrators
        Selections, as written; None where nothing is selected.
    profile, seeds, bootstrap_seed, level, resamples
        How much is measured, and how.
    inconclusive, correction
        What becomes of gates.
    report, store, records, baseline
        Folders.
    update_baseline, replay
        Whether to accept today's numbers, and whether models may be loaded.
    """

    models: str | None
    quantizers: str | None
    tasks: str | None
    calibrators: str | None
    profile: str
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
    replay: bool


@dataclass(frozen=True)
class _Option:
    help: str
    metavar: str | None = None
    default: Any = None
    read: Callable[[str], Any] = str
    is_folder: bool = False
    is_flag: bool = False


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"choose from {', '.join(choices)}")
        return text

    return read


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


_PROFILES, _INCONCLUSIVE, _CORRECTIONS = (
    ("quick", "default", "full"),
    ("pass", "warn", "fail"),
    ("none", "holm"),
)


def _braces(choices: tuple[str, ...]) -> str:
    return "{" + ",".join(choices) + "}"


OPTIONS = {
    "models": _Option("models to run: ids, globs, 'all', 'not X', separated by commas", "SELECTION"),
    "quantizers": _Option("quantizers to run, such as bnb-nf4 or 'gptq-int4[group_size=32]'", "SELECTION"),
    "tasks": _Option("tasks to run", "SELECTION"),
    "calibrators": _Option("calibrators to run", "SELECTION"),
    "profile": _Option(
        "how many items of each task to use", _braces(_PROFILES), "default", _one_of(*_PROFILES)
    ),
    "seeds": _Option(
        "seeds of the calibration/test division; gates use the first (default: 42,123,456)",
        "SEEDS",
        (42, 123, 456),
        _seeds,
    ),
    "bootstrap_seed": _Option(
        "seed of the bootstrap (default: that of the division)", "SEED", None, _not_negative
    ),
    "level": _Option("confidence level of intervals and gates", "LEVEL", 0.95, _level),
    "resamples": _Option("number of bootstrap resamples", "N", 2000, _resamples),
    "inconclusive": _Option(
        "what becomes of a gate whose interval holds the margin",
        _braces(_INCONCLUSIVE),
        "warn",
        _one_of(*_INCONCLUSIVE),
    ),
    "correction": _Option(
        "holm: over all gates of the run, at most 1 - LEVEL is the chance of any false alarm",
        _braces(_CORRECTIONS),
        "none",
        _one_of(*_CORRECTIONS),
    ),
    "report": _Option("write leaderboard and results there", "DIR", is_folder=True),
    "store": _Option(
        "where predictions and quantized models are kept: a folder, or an address that machines share,"
        " such as s3://bucket/name (default: 'store' in calbench's cache)",
        "DIR|URL",
        is_folder=True,
    ),
    "records": _Option(
        "gate the records there (see calbench import) instead of running models", "DIR", is_folder=True
    ),
    "baseline": _Option("compare with the results that were accepted there", "DIR", is_folder=True),
    "update_baseline": _Option(
        "accept today's results of the selected cells as the baseline, if the whole run is green",
        default=False,
        read=_flag,
        is_flag=True,
    ),
    "replay": _Option(
        "use stored predictions only: never load a model", default=False, read=_flag, is_flag=True
    ),
}


def add_options(parser: pytest.Parser) -> None:
    """Declare each option, on the command line and as an ini key."""
    group = parser.getgroup("calbench", "does calibration survive quantization?")
    for name, option in OPTIONS.items():
        shown = option.help
        if option.default and not option.is_flag and "default:" not in shown:
            shown += f" (default: {option.default})"
        flag = f"--{PREFIX}{name}".replace("_", "-")
        if option.is_flag:
            group.addoption(flag, action="store_const", const="true", default=None, help=shown)
        else:
            group.addoption(flag, metavar=option.metavar, default=None, help=shown)
        parser.addini(f"{PREFIX}{name}", f"the same as {flag}", default=None)


def is_used(config: pytest.Config) -> bool:
    """Whether any option is set, so that its value has to be checked."""
    return any(_text(config, name) is not None for name in OPTIONS)


def read_options(config: pytest.Config) -> Options:
    """Return the options' values; the command line goes before the ini file.

    Raises
    ------
    pytest.UsageError
        A value cannot be used; the message names the option or the ini key.
    """
    return Options(**{field.name: _value(config, field.name) for field in fields(Options)})


def _value(config: pytest.Config, name: str) -> Any:
    option, text = OPTIONS[name], _text(config, name)
    if text is None:
        return option.default
    if option.is_folder:
        return _folder(config, name, text)
    try:
        return option.read(text)
    except ValueError as error:
        raise pytest.UsageError(f"{_named(config, name)} {text!r}: {error}") from None


def _text(config: pytest.Config, name: str) -> str | None:
    given = config.getoption(PREFIX + name)
    return config.getini(PREFIX + name) if given is None else given  # type: ignore[no-any-return]


def _named(config: pytest.Config, name: str) -> str:
    if config.getoption(PREFIX + name) is None:
        return f"{config.inipath}: {PREFIX}{name}:"
    return f"--{PREFIX}{name}".replace("_", "-") + ":"


def _folder(config: pytest.Config, name: str, text: str) -> Path | str:
    """Return an absolute path: an ini file's are relative to it, the command line's to where it was typed.

    A store's address is left as it is.
    """
    if name == "store" and "://" in text:
        return text
    from_ini = config.getoption(PREFIX + name) is None
    start = config.inipath.parent if from_ini and config.inipath else config.invocation_params.dir
    path = start / Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise pytest.UsageError(f"{_named(config, name)} {text}: there is a file of that name")
    return path
