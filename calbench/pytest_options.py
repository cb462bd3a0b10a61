"""Options of the pytest plugin: each one on the command line and as an ini key.

Imported by every pytest run of an environment, so it imports nothing but pytest, and only declares;
:mod:`calbench._pytest._options` reads the values where a run uses any.
"""

from __future__ import annotations

from typing import Any

import pytest

PREFIX = "calbench_"
MARKER = "calbench_grid"
# Marks of tests of grids that are left out unless they are named.
OPT_IN = {
    "training": "trains models, for many minutes",
    "native": "runs models in llama.cpp, for minutes",
    "served": "asks servers that calbench.toml declares",
    "decision": "asks such servers for decisions between options",
}


class Option:
    """How an option is declared.

    A plain class: making a dataclass takes a millisecond, which every pytest run would pay.

    Attributes
    ----------
    help
        What it does, for ``pytest --help``.
    metavar
        What its value is called there; choices stand for themselves.
    default
        Its value where none is given.
    choices
        The only texts allowed, if there are such.
    is_folder, is_flag
        Whether the value is a path, or the option has none.
    """

    def __init__(
        self,
        help: str,  # noqa: A002 (argparse's word)
        metavar: str | None = None,
        *,
        default: Any = None,
        choices: tuple[str, ...] = (),
        is_folder: bool = False,
        is_flag: bool = False,
    ) -> None:
        self.help, self.default, self.choices = help, default, choices
        self.metavar = "{" + ",".join(choices) + "}" if choices else metavar
        self.is_folder, self.is_flag = is_folder, is_flag


OPTIONS = {
    "models": Option("models to run: ids, globs, 'all', 'not X', separated by commas", "SELECTION"),
    "quantizers": Option("quantizers to run, such as bnb-nf4 or 'gptq-int4[group_size=32]'", "SELECTION"),
    "tasks": Option("tasks to run", "SELECTION"),
    "calibrators": Option("calibrators to run", "SELECTION"),
    "chat": Option("ask causal models in turns, by their chat template: true, or a system prompt", "TEXT"),
    "multiturn": Option(
        "with --calbench-chat: whether answered examples are turns of their own",
        choices=("true", "false"),
    ),
    "profile": Option(
        "how many items of each task to use", default="default", choices=("quick", "default", "full")
    ),
    "items": Option(
        "test items of a task that a gate may take while it is undecided, in looks that share its error"
        " (default: all for encoders in the default profile, else the profile's own, and no more where all of"
        " them would hardly decide it; all, or as many as there are, asks those anyway)",
        "N|all",
    ),
    "folds": Option(
        "cross-fit what gates compare in N folds, so that all asked items are test items; calibrators of many"
        " parameters keep one split (default: 1, one split)",
        "N",
        default=1,
    ),
    "seeds": Option(
        "seeds of the calibration/test division; gates use the first (default: 42,123,456)",
        "SEEDS",
        default=(42, 123, 456),
    ),
    "bootstrap_seed": Option("seed of the bootstrap (default: that of the division)", "SEED"),
    "level": Option("confidence level of intervals and gates", "LEVEL", default=0.95),
    "resamples": Option("number of bootstrap resamples", "N", default=2000),
    "inconclusive": Option(
        "what becomes of a gate whose interval holds the margin",
        default="warn",
        choices=("pass", "warn", "fail"),
    ),
    "correction": Option(
        "holm: over all gates of the run, at most 1 - LEVEL is the chance of any false alarm",
        default="none",
        choices=("none", "holm"),
    ),
    "report": Option("write leaderboard and results there", "DIR", is_folder=True),
    "store": Option(
        "where predictions and quantized models are kept: a folder, or an address that machines share,"
        " such as s3://bucket/name (default: 'store' in calbench's cache)",
        "DIR|URL",
        is_folder=True,
    ),
    "records": Option(
        "gate the records there (see calbench import) instead of running models", "DIR", is_folder=True
    ),
    "baseline": Option("compare with the results that were accepted there", "DIR", is_folder=True),
    "update_baseline": Option(
        "accept today's results of the selected cells as the baseline, if the whole run is green",
        default=False,
        is_flag=True,
    ),
    "device": Option(
        "where models run: auto (a GPU where torch sees one), cpu, cuda or cuda:N"
        " (default: $CALBENCH_DEVICE, or auto)",
        "DEVICE",
    ),
    "lm_eval_include": Option(
        "a folder of your own task files of lm-evaluation-harness, for --calbench-tasks lm-eval:NAME",
        "DIR",
        is_folder=True,
    ),
    "trust_lm_eval_code": Option(
        "let task files outside of the installed lm-eval name code, and run it", default=False, is_flag=True
    ),
    "replay": Option("use stored predictions only: never load a model", default=False, is_flag=True),
}


def flag_of(name: str) -> str:
    """Return what is typed on the command line.

    >>> flag_of("update_baseline")
    '--calbench-update-baseline'
    """
    return f"--{PREFIX}{name}".replace("_", "-")


def add_options(parser: pytest.Parser) -> None:
    """Declare each option, on the command line and as an ini key."""
    group = parser.getgroup("calbench", "does calibration survive quantization?")
    for name, option in OPTIONS.items():
        shown, flag = option.help, flag_of(name)
        if option.default and "default:" not in shown:
            shown += f" (default: {option.default})"
        if option.is_flag:
            group.addoption(flag, action="store_const", const="true", default=None, help=shown)
        else:
            group.addoption(flag, metavar=option.metavar, default=None, help=shown)
        parser.addini(f"{PREFIX}{name}", f"the same as {flag}", default=None)


def is_used(config: pytest.Config) -> bool:
    """Whether any option is set, so that its value has to be checked."""
    return any(text_of(config, name) is not None for name in OPTIONS)


def text_of(config: pytest.Config, name: str) -> str | None:
    """Return what is given for an option, as written; the command line goes before the ini file."""
    given = config.getoption(PREFIX + name)
    return config.getini(PREFIX + name) if given is None else given  # type: ignore[no-any-return]
