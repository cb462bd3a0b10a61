"""A suite that asks for ever what ``calbench check`` asked once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calbench.cli._compression import Wanted
from calbench.errors import InputError

_TEST = '''"""Does {model} keep its calibration when it is compressed? Written by calbench check."""

import calbench

QUANTIZERS = {quantizers!r}


@calbench.grid(models="{model}", tasks={task}, quantizers=QUANTIZERS, calibrators="{calibrator}")
def test_calibration_and_accuracy_are_kept(calbench):
    kept = calbench.transfer()
{sentences}


@calbench.grid(models="{model}", tasks={task}, quantizers=QUANTIZERS, calibrators="{calibrator}")
def test_nothing_is_worse_than_what_was_accepted(calbench):
    kept = calbench.transfer()
{against_baseline}
'''
_PYTEST = """[pytest]
testpaths = suites
calbench_profile = {profile}
calbench_baseline = baselines
calbench_report = report
# What is inconclusive passes; this would make it fail:
# calbench_inconclusive = fail
"""
_SUITE = "suites/test_compression.py"
_IGNORED = "report/\n.pytest_cache/\n__pycache__/\n"
_WORKFLOW = """name: calibration
on: [pull_request]
permissions: {{}}
jobs:
  gates:
    runs-on: ubuntu-latest
    permissions:
      contents: read
      pull-requests: write
    steps:
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
        with:
          lfs: true
      - uses: calbench/calbench@main
        with:
          folder: {folder}
          paths: suites
"""


def write(
    folder: Path,
    tables: Mapping[str, Mapping[str, Any]],
    builds: Sequence[str],
    limits: Mapping[str, float],
    calibrator: str,
    asked: Wanted,
    *,
    store: str | None,
) -> list[str]:
    """Write ``calbench.toml``, a suite, a workflow, and the baseline if all is kept; return the files' names.

    The workflow goes to the root of the repository that the folder lies in.

    Parameters
    ----------
    tables
        What ``calbench.toml`` declares: ``{"models.my-bert": {...}, "tasks.tickets": {...}}``.
    builds
        Ids of the quantizers that are asked about.
    limits
        How much worse each metric may be.

    Raises
    ------
    InputError
        A file is there already (see :func:`check_free`), or the baseline cannot be made.
    """
    check_free(folder)
    root, workflow = _repository(folder), _workflow_in(folder)
    files = {
        "calbench.toml": toml(tables, folder),
        "pytest.ini": _PYTEST.format(profile=asked.runner.profile.name),
        _SUITE: _TEST.format(
            model=asked.model,
            task=json.dumps(asked.task, ensure_ascii=False),
            quantizers=",".join(builds),
            calibrator=calibrator,
            sentences="\n".join(_sentence(metric, limit) for metric, limit in limits.items()),
            against_baseline="\n".join(
                _sentence(metric, limit, "baseline") for metric, limit in limits.items()
            ),
        ),
        workflow: _WORKFLOW.format(folder=os.path.relpath(folder, root)),
    }
    if not (folder / ".gitignore").exists():
        files[".gitignore"] = _IGNORED
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    _accept(folder, store)
    if (folder / "baselines").exists():
        return [*files, "baselines/"]
    # Nothing that is lost or undecided is accepted: whoever wants that has to say so.
    settings = files["pytest.ini"].replace("calbench_baseline = baselines\n", "")
    (folder / "pytest.ini").write_text(settings, encoding="utf-8")
    return list(files)


def check_free(folder: Path) -> None:
    """Raise :class:`InputError` if a file of a suite that was written before is there."""
    names = ("calbench.toml", "pytest.ini", _SUITE, _workflow_in(folder))
    present = [name for name in names if (folder / name).exists()]
    if present:
        raise InputError(
            f"{folder}: {', '.join(present)} would be overwritten; delete them to write the suite anew, or"
            f" name another folder, such as {folder / 'calibration'}: the workflow goes to the root of the"
            " repository all the same"
        )


def _workflow_in(folder: Path) -> str:
    root = _repository(folder)
    own_name = "" if root == folder.resolve() else f"-{folder.resolve().name}"
    return os.path.relpath(root / f".github/workflows/calibration{own_name}.yml", folder)


def _repository(folder: Path) -> Path:
    """Return the repository that a folder lies in, or itself: workflows are looked for there alone."""
    own = folder.resolve()
    return next((place for place in (own, *own.parents) if (place / ".git").exists()), own)


def toml(tables: Mapping[str, Mapping[str, Any]], folder: Path) -> str:
    """Return tables as TOML; paths of files and folders become relative to where it is written.

    >>> print(toml({"tasks.t": {"text": "a b", "classes": ["x"], "labels": {"0": "x"}}}, Path()), end="")
    [tasks.t]
    text = "a b"
    classes = ["x"]
    labels = {"0" = "x"}
    """
    lines: list[str] = []
    for name, values in tables.items():
        lines += [*([""] if lines else []), f"[{name}]"]
        for key, value in values.items():
            shown = os.path.relpath(value, folder) if isinstance(value, Path) else value
            lines.append(f"{key} = {_value(shown)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers and lists of them are spelled alike


def _sentence(metric: str, limit: float, against: str = "") -> str:
    from calbench.metrics import get

    worse = "max_decrease" if get(metric).direction == "higher" else "max_increase"
    more = f', against="{against}"' if against else ""
    if against and metric == "brier":
        metric = "brier_toplabel"  # a baseline keeps the top answer alone
    return f'    kept.require("{metric}", {worse}={limit:g}{more})'


def _accept(folder: Path, store: str | None) -> None:
    """Accept today's results as the baseline, by running the suite on what is stored."""
    command = [sys.executable, "-m", "pytest", "-q", "--calbench-update-baseline"]
    if store:  # written as one word: pytest would look for its settings beside a second one
        command.append(f"--calbench-store={store if '://' in store else Path(store).resolve()}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 (our own)
    if done.returncode not in (0, 1):
        raise InputError(
            f"{folder}: the suite was written, and cannot be run: {(done.stdout + done.stderr)[-600:]}"
        )
