"""The calbench side of one pytest process."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from calbench import configuration, devices
from calbench._pytest._baseline_update import Baselines
from calbench._pytest._fixture import CalbenchFixture
from calbench._pytest._log import LOG, TestLog, is_undecided, properties
from calbench._pytest._measurement import MeasuredCell
from calbench._pytest._multiplicity import correct
from calbench._pytest._options import Options, check_writable, read_options
from calbench._pytest._summary import Summary
from calbench.adaptation import AdaptationRunner, VariantStudy
from calbench.errors import BackendUnavailableError, CalbenchError, GateFailedError, InputError
from calbench.gates import cross_fits
from calbench.pytest_options import MARKER, OPT_IN, flag_of
from calbench.report import TerminalProgress, VariantsRow, arms_row
from calbench.runs import (
    AXES,
    PROFILES,
    Availability,
    Cell,
    Grid,
    ImportedRunner,
    Runner,
    Selection,
    Silence,
    Turns,
    Unavailable,
    declared_source,
    grid_of,
    read_records,
)
from calbench.store import Store, listed, size_limit
from calbench.tasks import LM_EVAL_INCLUDE, TRUST_LM_EVAL_CODE


class Session:
    """Cells, their runner, and what becomes of the results."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = datetime.now(timezone.utc)
        self._availability = Availability()
        self._planned: list[Cell] = []
        self._grids = 0
        self._whole, self._leaving_out = True, False
        # Cells of each collected suite, and the suite's file: what baselines may be kept of.
        self.collected: dict[str, list[str]] = {}
        self._suites: dict[str, Path] = {}
        self._variants: dict[Cell, tuple[VariantStudy, VariantsRow] | CalbenchError] = {}

    @cached_property
    def options(self) -> Options:
        """What was asked for."""
        return read_options(self._config)

    @cached_property
    def runner(self) -> Runner | ImportedRunner:
        """The runner that serves this process."""
        if self.imported is not None:
            return self.imported
        return Runner(
            self.store,
            PROFILES[self.options.profile],
            n_resamples=self.options.resamples,
            level=self.options.level,
            bootstrap_seed=self.options.bootstrap_seed,
            planned=self._planned,
            progress=self._progress(),
            replay=self.options.replay,
            most_items=self.options.items,
        )

    @property
    def n_gates(self) -> int:
        """How many gates a failure must stand among: about one for each planned test."""
        return max(len(self._planned), 1) if self.options.correction == "holm" else 1

    @cached_property
    def imported(self) -> ImportedRunner | None:
        """The records from elsewhere that are gated instead of running models, if there are any."""
        if self.options.records is None:
            return None
        return ImportedRunner.of(
            read_records([self.options.records]),
            n_resamples=self.options.resamples,
            level=self.options.level,
            bootstrap_seed=self.options.bootstrap_seed,
            store=self.store,
        )

    @cached_property
    def store(self) -> Store:
        """The store that the options name."""
        return Store.at(self.options.store)

    @cached_property
    def summary(self) -> Summary:
        """What is done with all results at the end of the run."""
        return Summary(self._config, self.options, self.imported or self.store, self._started)

    def check_options(self) -> None:
        """Refuse values that cannot be used, and selections that match nothing."""
        options = self.options
        if options.update_baseline and options.baseline is None:
            raise pytest.UsageError(
                "--calbench-update-baseline: name the folder with --calbench-baseline DIR"
            )
        if options.baseline and not options.update_baseline and not options.baseline.is_dir():
            raise pytest.UsageError(
                f"--calbench-baseline={options.baseline}: there is no such folder;"
                " --calbench-update-baseline makes it"
            )
        if options.report:
            check_writable(self._config, "report", options.report)
        if options.baseline and options.update_baseline:
            check_writable(self._config, "baseline", options.baseline)
        try:
            size_limit()
            if options.device is not None:
                self._set(devices.ENVIRONMENT_VARIABLE, options.device)
                devices.choose(options.device)
            if options.lm_eval_include is not None:
                self._set(LM_EVAL_INCLUDE, str(options.lm_eval_include))
            if options.trust_lm_eval_code:
                self._set(TRUST_LM_EVAL_CODE, "1")
            self._cells(Grid())
        except CalbenchError as error:
            raise pytest.UsageError(f"calbench: {error}") from None

    def _set(self, variable: str, value: str) -> None:
        """Set a variable until the run ends; worker processes read the option themselves."""
        before = os.environ.get(variable, "")
        self._config.add_cleanup(lambda: os.environ.update({variable: before}))
        os.environ[variable] = value

    @property
    def _narrowed(self) -> bool:
        """Whether the command line or the ini file selects some of the cells."""
        return any(getattr(self.options, axis) for axis in AXES)

    def deselected(self) -> None:
        """Learn that some tests will not run, so that nothing can be said of what all of them need."""
        self._whole = self._whole and self._leaving_out

    def leave_out(self, items: list[pytest.Item]) -> None:
        """Deselect tests of grids that take very long, unless ``-m`` or their file names them."""
        named = {(self._config.invocation_params.dir / str(a).split("::")[0]) for a in self._config.args}
        wanted = str(self._config.option.markexpr)
        left_out: dict[str, list[pytest.Item]] = {}
        for item in items:
            marks = [m for m in OPT_IN if item.get_closest_marker(m) and item.get_closest_marker(MARKER)]
            if marks and item.path not in named and not any(mark in wanted for mark in marks):
                left_out.setdefault(marks[0], []).append(item)
        gone = [item for found in left_out.values() for item in found]
        if gone:
            self.summary.left_out = {mark: len(found) for mark, found in left_out.items()}
            self._leaving_out = True
            self._config.hook.pytest_deselected(items=gone)
            self._leaving_out = False
            items[:] = [item for item in items if item not in set(gone)]

    def parametrize(self, metafunc: pytest.Metafunc, mark: pytest.Mark) -> None:
        """Make one test of each cell that a grid picks and the command line leaves."""
        path, place = metafunc.definition.path, metafunc.definition.nodeid
        if self._suites.setdefault(path.stem, path) != path and self.options.baseline:
            raise pytest.Collector.CollectError(
                f"{path} and {self._suites[path.stem]} have one name; rename one: baselines are kept by it"
            )
        try:
            cells = self._cells(grid_of(**mark.kwargs))
        except CalbenchError as error:
            raise pytest.Collector.CollectError(
                f"{place}: calbench.grid: {error}{_unread_declarations(path)}"
            ) from None
        self._grids += 1
        if not cells and not self._narrowed:
            raise pytest.Collector.CollectError(f"{place}: calbench.grid picks no cell; name less in it")
        self.collected.setdefault(path.stem, []).extend(cell.name for cell in cells)
        # With --dist loadgroup, one worker gets all cells of a model.
        groups = {name: pytest.mark.xdist_group(name) for name in {cell.model for cell in cells}}
        metafunc.parametrize(
            "calbench",
            [pytest.param(cell, id=cell.id, marks=groups[cell.model]) for cell in cells],
            indirect=True,
        )

    def plan(self, items: Sequence[pytest.Item]) -> None:
        """Remember the selected cells; stop at once if there are none, or what they need is not here."""
        if self._grids and self._narrowed and not any(self.collected.values()):
            named = " ".join(f"{flag_of(a)}={v}" for a in AXES if (v := getattr(self.options, a)))
            raise pytest.UsageError(f"{named}: this selects no cell of any grid here")
        self._whole &= not (self._narrowed or any("::" in str(a) for a in self._config.args))
        cells = [c for item in items if (c := _cell_of(item)) is not None]
        self._planned[:] = dict.fromkeys(cells)
        worker = getattr(self._config, "workeroutput", None)
        if worker is not None and self.options.baseline:
            worker["calbench_collected"] = self.collected
        if self._config.option.collectonly or not self._planned or self.imported is not None:
            return
        # In a worker process of pytest-xdist each cell says so: an error here would be an internal one.
        if worker is None and self.options.replay and not self.store.remote and not listed(self.store):
            raise pytest.UsageError(
                f"--calbench-replay: nothing is stored yet in {self.store.root}; run once without"
                " --calbench-replay, which asks the models and stores what they say"
            )
        try:
            if not self.options.replay:
                devices.device()
            for name in dict.fromkeys(cell.model for cell in self._planned):
                if source := declared_source(name):
                    source.check_set_up()
        except CalbenchError as error:
            raise pytest.UsageError(f"calbench: {error}") from None

    def fixture(self, request: pytest.FixtureRequest) -> CalbenchFixture:
        """Return what the fixture gives a test."""
        log = request.node.stash.setdefault(LOG, TestLog(whole=self._whole))
        cell = getattr(request, "param", None)
        # pytest-xdist appends the group to the id; serial and parallel runs are to read alike.
        test = request.node.nodeid
        test = test.removesuffix(f"@{cell.model}") if cell else test
        mark = request.node.get_closest_marker(MARKER)
        grid = grid_of(**mark.kwargs) if mark else Grid()
        return CalbenchFixture(self, test, request.node.path.stem, grid, cell, log)

    def excused(self, cell: Cell, grid: Grid) -> Unavailable | None:
        """Return what keeps a cell of a grid from being measured here, if only a pattern picked it."""
        if self.imported is not None:
            missing = self.imported.missing(cell)
            named = grid.names("calibrators", cell.calibrator, self._selection())
            return (
                None if missing is None or named else Unavailable(cell.calibrator, missing, ("calibrators",))
            )
        return self._availability.excused(cell, grid, self._selection())

    def measured(self, cell: Cell) -> MeasuredCell:
        """Return a cell, to be measured when it is asked about."""
        folds = self.options.folds if cross_fits(cell.calibrator) else 1
        return MeasuredCell(self.runner, cell, self.options.seeds, folds=folds)

    def variants(self, cell: Cell) -> tuple[VariantStudy, VariantsRow]:
        """Return a cell's variants for the first seed, and a row of results without gates."""
        if cell not in self._variants:
            if isinstance(self.runner, ImportedRunner):
                raise InputError(
                    "arms are trained here, and no record holds them; run without --calbench-records"
                )
            try:
                study = AdaptationRunner(self.runner).compare(
                    cell.model, cell.task, cell.quantizer, seed=self.options.seeds[0]
                )
                self._variants[cell] = study, arms_row(study)
            except CalbenchError as error:
                self._variants[cell] = error  # every other test of the cell would meet it again
        found = self._variants[cell]
        if isinstance(found, CalbenchError):
            raise found
        study, row = found
        return study, {**row, "gates": []}

    def baselines(self, suite: str) -> Baselines:
        """Return the baselines that a suite compares with."""
        return Baselines(self.options.baseline, suite, self.options.update_baseline)

    def attach(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Put a test's results on its report, and the main figures among its properties (JUnit)."""
        log = item.stash.get(LOG, None)
        if log is None:
            return
        cell = _cell_of(item)
        if cell is not None and report.skipped and isinstance(report.longrepr, tuple) and not log.skipped:
            log.skipped.append((cell.quantizer, report.longrepr[2].removeprefix("Skipped: ")))
        report.calbench = {**log.to_plain(), "inconclusive": self.options.inconclusive}  # type: ignore[attr-defined]
        accepted = [gate["accepted"] for gate in log.gates() if gate["accepted"]]
        if accepted and report.passed:  # only now: a later requirement of the test may have failed
            report.outcome = "skipped"
            report.wasxfail = f"accepted: {accepted[0]}"
        if is_undecided(log.to_plain()):
            item.user_properties.append(("calbench.outcome", "inconclusive"))
        for row in log.rows:
            for metric, estimate in row["arms"]["transferred"].items():
                item.user_properties.append((f"calbench.transferred.{metric}", estimate["value"]))
        item.user_properties.extend(properties(log.gates()))

    def is_own(self, fixture: object, error: Exception) -> bool:
        """Whether an error is one that calbench raises on purpose, in a test of its fixture."""
        return isinstance(fixture, CalbenchFixture) and isinstance(error, CalbenchError)

    def conclude(self, item: pytest.Item, fixture: CalbenchFixture, error: Exception | None) -> None:
        """Turn what a test raised through the fixture into its fate; refuse one that required nothing.

        What cannot run here skips; bad input fails, with the place and without calbench's own frames.
        """
        if isinstance(error, BackendUnavailableError):
            pytest.skip(str(error))
        if isinstance(error, GateFailedError):
            fixture.log.by_gate = True
            pytest.fail(str(error), pytrace=False)
        if error is not None:
            problem = f"{fixture.subject}: {type(error).__name__}: {error}"
            pytest.fail(f"{problem}\n  {_place_of(error, item.path)}", pytrace=False)
        if fixture.cell is not None and not fixture.log.asked:
            pytest.fail(
                f"{fixture.subject}: this test of a grid requires nothing and looks at no number; state what"
                " must hold, as in calbench.transfer().require('ece', max_increase=0.02)",
                pytrace=False,
            )

    def correct(self, reports: Sequence[pytest.TestReport]) -> None:
        """Correct all gates for their number, where that was asked for."""
        if self.options.correction == "holm":
            correct(self._config, self.options, reports)

    def _progress(self) -> TerminalProgress | Silence:
        if hasattr(self._config, "workerinput"):
            return Silence()  # a worker process of pytest-xdist has no terminal
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        reporter: Any = self._config.pluginmanager.getplugin("terminalreporter")

        @contextmanager
        def uncaptured() -> Iterator[None]:
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                if reporter is not None:
                    reporter.ensure_newline()  # after the dots of the tests before
                    writer = self._config.get_terminal_writer()
                    if writer.width_of_current_line:  # under -q the reporter does not know of them
                        writer.line()
                yield

        return TerminalProgress(Console(), uncaptured)

    def _cells(self, grid: Grid) -> list[Cell]:
        if self.imported is not None:
            return self.imported.cells(grid, self._selection())
        return grid.cells(self._selection(), PROFILES[self.options.profile])

    def _selection(self) -> Selection:
        picked = grid_of(**{axis: getattr(self.options, axis) for axis in AXES}).wanted
        multiturn = None if self.options.multiturn is None else self.options.multiturn == "true"
        return replace(picked, turns=Turns(self.options.chat, multiturn))


def _unread_declarations(suite: Path) -> str:
    """Say that a calbench.toml above a suite's file is not read from the folder that pytest runs in."""
    found = (folder / configuration.FILE for folder in suite.parents)
    beside = next((file for file in found if file.is_file()), None)
    if beside is None or configuration.find() == beside:
        return ""
    return (
        f"\n{beside} is not read, as pytest runs in another folder: cd {beside.parent} and run it there, or"
        f" set {configuration.ENVIRONMENT_VARIABLE}={beside}"
    )


def _place_of(error: Exception, file: Path) -> str:
    """Return where in a test's file an error was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == file]
    return f"{file.name}:{frames[-1].lineno}" if frames else file.name


def _cell_of(item: pytest.Item) -> Cell | None:
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("calbench") if callspec else None
    return cell if isinstance(cell, Cell) else None
