"""pytest hooks and fixtures; the work is done by :mod:`calbench.pytest_session`.

This module is imported by every pytest run of an environment that has calbench installed, so it
imports nothing but pytest: a run that does not use calbench does not pay for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from calbench.pytest_session import CellUnderTest, Session

MARKER = "calbench_grid"
OPTIONS = {
    "models": "models to run: ids, globs, 'all', 'not X', separated by commas",
    "quantizers": "quantizers to run, such as bnb-nf4 or 'gptq-int4[group_size=32]'",
    "tasks": "tasks to run",
    "calibrators": "calibrators to run",
}
_SESSION = pytest.StashKey["Session"]()


def grid(
    *,
    models: str | Iterable[str] | None = None,
    tasks: str | Iterable[str] | None = None,
    quantizers: str | Iterable[str] | None = None,
    calibrators: str | Iterable[str] | None = None,
) -> pytest.MarkDecorator:
    """Return a mark that runs a test once for every cell picked.

    Each argument is a list of patterns, or a string of them separated by commas: ids, globs,
    ``all`` and ``not X``. What names something picks from all that is registered; what only
    excludes, or is left out, starts from the default set. The command line narrows further. The
    test asks for the fixture ``calbench``.

    >>> grid(quantizers="not fp32").name
    'calbench_grid'
    """
    return getattr(pytest.mark, MARKER)(  # type: ignore[no-any-return]
        models=models, tasks=tasks, quantizers=quantizers, calibrators=calibrators
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("calbench", "does calibration survive quantization?")
    for axis, text in OPTIONS.items():
        group.addoption(f"--calbench-{axis}", metavar="SELECTION", help=text)
    group.addoption(
        "--calbench-profile",
        choices=("quick", "default", "full"),
        default="default",
        help="how many items of each task to use (default: %(default)s)",
    )
    group.addoption(
        "--calbench-seeds",
        type=_seeds,
        default=(42, 123, 456),
        metavar="SEEDS",
        help="seeds of the calibration/test division; gates use the first (default: 42,123,456)",
    )
    group.addoption(
        "--calbench-inconclusive",
        choices=("pass", "warn", "fail"),
        default="warn",
        help="what becomes of a gate whose interval holds the margin (default: %(default)s)",
    )
    group.addoption("--calbench-report", metavar="DIR", help="write leaderboard.md and results.json there")
    group.addoption(
        "--calbench-store",
        metavar="DIR",
        help="where predictions and quantized models are kept (default: 'store' in calbench's cache)",
    )
    group.addoption(
        "--calbench-replay",
        action="store_true",
        help="use stored predictions only: never load a model",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and refuse options that cannot be used."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(models, tasks, quantizers, calibrators): run once per cell; made by calbench.grid()",
    )
    if any(config.getoption(f"calbench_{axis}") for axis in OPTIONS) or config.getoption("calbench_report"):
        _session(config).check_options()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each cell of a marked test's grid."""
    mark = metafunc.definition.get_closest_marker(MARKER)
    if mark is not None and "calbench" in metafunc.fixturenames:
        _session(metafunc.config).parametrize(metafunc, mark)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Learn which cells were selected, so that a loaded model is asked all its tasks at once."""
    if _SESSION in session.config.stash:
        session.config.stash[_SESSION].plan(session.items)


@pytest.fixture(name="calbench")
def _calbench(request: pytest.FixtureRequest) -> CellUnderTest:
    """One cell of the grid: ``calbench.transfer().require("ece", max_increase=0.02)``."""
    if not hasattr(request, "param"):
        raise pytest.UsageError(
            f"{request.node.nodeid} asks for the fixture 'calbench' without a grid;"
            " put pytestmark = calbench.grid() at the top of its module"
        )
    return _session(request.config).cell_under_test(request)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach a cell's results to the report of its test, which also crosses process borders."""
    report = yield
    if call.when == "call" and _SESSION in item.config.stash:
        item.config.stash[_SESSION].attach(item, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the leaderboard and write the report."""
    rows = [row for report in _reports(terminalreporter) for row in getattr(report, "calbench", ())]
    if rows:
        _session(config).summarize(terminalreporter, rows)
    skipped = [r.calbench_skipped for r in _reports(terminalreporter) if hasattr(r, "calbench_skipped")]
    if skipped:
        _session(config).say_skipped(terminalreporter, skipped)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write whole numbers separated by commas") from None


def _reports(terminalreporter: pytest.TerminalReporter) -> Iterable[object]:
    for reports in terminalreporter.stats.values():
        yield from reports


def _session(config: pytest.Config) -> Session:
    if _SESSION not in config.stash:
        from calbench.pytest_session import Session

        config.stash[_SESSION] = Session(config)
    return config.stash[_SESSION]
