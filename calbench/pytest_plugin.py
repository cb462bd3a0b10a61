"""pytest hooks and fixtures; the work is done by :mod:`calbench._pytest`.

This module is imported by every pytest run of an environment that has calbench installed, so it
imports nothing but pytest: a run that does not use calbench does not pay for it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from calbench.pytest_options import MARKER, OPT_IN, add_options, is_used

if TYPE_CHECKING:
    from calbench._pytest import CalbenchFixture, Session

_SESSION = pytest.StashKey["Session"]()
_RESULTS = pytest.StashKey["_Results"]()


def grid(
    *,
    models: str | Iterable[str] | None = None,
    tasks: str | Iterable[str] | None = None,
    quantizers: str | Iterable[str] | None = None,
    calibrators: str | Iterable[str] | None = None,
    by_default: Mapping[str, str | Iterable[str]] | None = None,
) -> pytest.MarkDecorator:
    """Return a mark that runs a test once for every cell picked.

    Each argument is a list of patterns, or a string of them separated by commas: ids, globs,
    ``all`` and ``not X``. What names something picks from all that is registered; what only
    excludes, or is left out, starts from the default set. The command line narrows further; what it
    replaces altogether goes into ``by_default={"tasks": "tweets"}``; of such tasks a model gets those
    that it can be asked, and in a short profile the first of them. The test asks for the fixture
    ``calbench``.

    >>> grid(quantizers="not fp32").name
    'calbench_grid'
    """
    return getattr(pytest.mark, MARKER)(  # type: ignore[no-any-return]
        models=models, tasks=tasks, quantizers=quantizers, calibrators=calibrators, by_default=by_default
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks, and refuse options that cannot be used."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(models, tasks, quantizers, calibrators): run once per cell; made by calbench.grid()",
    )
    for name, what in OPT_IN.items():
        config.addinivalue_line("markers", f"{name}: {what}; a grid's test runs if -m or its file names it")
    if not config.pluginmanager.hasplugin("xdist"):
        config.addinivalue_line("markers", "xdist_group(name): cells of one model (used by pytest-xdist)")
    config.stash[_RESULTS] = results = _Results()
    config.pluginmanager.register(results, "calbench-results")
    if is_used(config):
        _session(config).check_options()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each cell of a marked test's grid."""
    mark = metafunc.definition.get_closest_marker(MARKER)
    if mark is not None and "calbench" in metafunc.fixturenames:
        _session(metafunc.config).parametrize(metafunc, mark)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes very long, unless it is named; the summary says so."""
    if _SESSION in config.stash:
        config.stash[_SESSION].leave_out(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Learn which cells were selected, so that a loaded model is asked all its tasks at once."""
    if _SESSION in session.config.stash:
        session.config.stash[_SESSION].plan(session.items)


@pytest.fixture(name="calbench")
def _calbench(request: pytest.FixtureRequest) -> CalbenchFixture:
    """One cell of a grid, or your own arrays: ``calbench.transfer()``, ``calbench.compare(...)``."""
    return _session(request.config).fixture(request)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Learn that the run takes a part of the tests only."""
    if items and _SESSION in items[0].config.stash:
        items[0].config.stash[_SESSION].deselected()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Turn what calbench raises in a test into its fate; refuse a test of a grid that demands nothing."""
    fixture: Any = pyfuncitem.funcargs.get("calbench")
    if _SESSION not in pyfuncitem.config.stash or fixture is None:
        return (yield)
    session = pyfuncitem.config.stash[_SESSION]
    try:
        outcome = yield
    except Exception as error:
        if not session.is_own(fixture, error):
            raise
        problem = error
    else:
        session.conclude(pyfuncitem, fixture, None)
        return outcome
    # Outside of the handler, or pytest would show the traceback as well.
    session.conclude(pyfuncitem, fixture, problem)
    return None


def pytest_report_teststatus(
    report: pytest.TestReport | pytest.CollectReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Show a test of which a gate could not be decided as what it is: neither passed nor failed."""
    found = getattr(report, "calbench", None)
    if found is None or not report.passed or found["inconclusive"] == "pass":
        return None
    from calbench._pytest import is_undecided

    return ("inconclusive", "?", ("INCONCLUSIVE", {"yellow": True})) if is_undecided(found) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach a cell's results to the report of its test, which also crosses process borders."""
    report = yield
    if call.when == "call" and _SESSION in item.config.stash:
        item.config.stash[_SESSION].attach(item, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Correct the gates for their number once all of them are known."""
    outcome = yield
    results = session.config.stash[_RESULTS]
    if results.reports and not _is_worker(session.config):
        _session(session.config).correct(results.reports)
    return outcome


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadgroup``, give all cells of a model to one worker."""
    if config.getoption("dist") != "loadgroup":
        return None
    from calbench._pytest import make_scheduler

    return make_scheduler(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001 (pytest-xdist's hook)
    """Learn from a finished worker process what it collected."""
    collected = getattr(node, "workeroutput", {}).get("calbench_collected")
    if collected:
        _session(node.config).collected.update(collected)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
    """Accept today's results as baselines, if that was asked; a run whose files are lost is not green."""
    if _SESSION not in session.config.stash or _is_worker(session.config):
        return (yield)
    ours = session.config.stash[_SESSION]
    stopped = session.shouldstop or session.shouldfail
    ours.summary.look_for_gone(ours.collected)
    ours.summary.accept(
        session.config.stash[_RESULTS].reports, complete=exitstatus == pytest.ExitCode.OK and not stopped
    )
    is_stale = ours.summary.look_for_accepted(session.config.stash[_RESULTS].reports)
    outcome = yield  # the terminal's summary, which writes the report
    if session.exitstatus == pytest.ExitCode.OK:
        if ours.summary.could_not_write:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif is_stale:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the leaderboard and write the report."""
    if _is_worker(config):
        return
    results = config.stash[_RESULTS]
    if results.reports or _SESSION in config.stash:
        _session(config).summary.summarize(terminalreporter, results.reports)


class _Results:
    """Collects the reports that carry results: of this process, or of all workers."""

    def __init__(self) -> None:
        self.reports: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "calbench"):
            self.reports.append(report)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _session(config: pytest.Config) -> Session:
    if _SESSION not in config.stash:
        from calbench._pytest import Session

        config.stash[_SESSION] = Session(config)
    return config.stash[_SESSION]
