"""The calbench side of one pytest process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from calbench import devices, models
from calbench._pytest._baseline_update import Baselines
from calbench._pytest._fixture import CalbenchFixture
from calbench._pytest._log import LOG, TestLog, properties
from calbench._pytest._measurement import MeasuredCell
from calbench._pytest._multiplicity import correct
from calbench._pytest._options import Options, check_writable, read_options
from calbench._pytest._summary import Finish
from calbench.adaptation import ArmBench, ArmsResult
from calbench.errors import CalbenchError, InputError
from calbench.pytest_options import MARKER
from calbench.report import Row, TerminalProgress, arms_row
from calbench.runs import (
    AXES,
    PROFILES,
    Bench,
    Cell,
    Grid,
    ImportedBench,
    Obstacle,
    Obstacles,
    Selection,
    Silence,
    grid_of,
    read_records,
)
from calbench.store import Store, size_limit
from calbench.tasks import LM_EVAL_INCLUDE, TRUST_LM_EVAL_CODE


class Session:
    """Cells, their bench, and what becomes of the results."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = datetime.now(timezone.utc)
        self._obstacles = Obstacles()
        self._planned: list[Cell] = []
        # Cells of each collected suite, and the suite's file: what baselines may be kept of.
        self.collected: dict[str, list[str]] = {}
        self._suites: dict[str, Path] = {}
        self._arms: dict[Cell, tuple[ArmsResult, Row] | CalbenchError] = {}

    @cached_property
    def options(self) -> Options:
        """What was asked for."""
        return read_options(self._config)

    @cached_property
    def bench(self) -> Bench | ImportedBench:
        """The bench that serves this process."""
        if self.imported is not None:
            return self.imported
        return Bench(
            self.store,
            PROFILES[self.options.profile],
            n_resamples=self.options.resamples,
            level=self.options.level,
            bootstrap_seed=self.options.bootstrap_seed,
            planned=self._planned,
            progress=self._progress(),
            replay=self.options.replay,
        )

    @cached_property
    def imported(self) -> ImportedBench | None:
        """The records from elsewhere that are gated instead of running models, if there are any."""
        if self.options.records is None:
            return None
        return ImportedBench.of(
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
    def finish(self) -> Finish:
        """What is done with all results at the end of the run."""
        return Finish(self._config, self.options, self.imported or self.store, self._started)

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
            raise pytest.Collector.CollectError(f"{place}: calbench.grid: {error}") from None
        self.collected.setdefault(path.stem, []).extend(cell.id for cell in cells)
        # With --dist loadgroup, one worker gets all cells of a model.
        groups = {name: pytest.mark.xdist_group(name) for name in {cell.model for cell in cells}}
        metafunc.parametrize(
            "calbench",
            [pytest.param(cell, id=cell.id, marks=groups[cell.model]) for cell in cells],
            indirect=True,
        )

    def plan(self, items: Sequence[pytest.Item]) -> None:
        """Remember the selected cells; stop at once if the device or an embedded model is not here."""
        cells = [c for item in items if (c := _cell_of(item)) is not None]
        self._planned[:] = dict.fromkeys(cells)
        worker = getattr(self._config, "workeroutput", None)
        if worker is not None and self.options.baseline:
            worker["calbench_collected"] = self.collected
        if self._config.option.collectonly or not self._planned or self.imported is not None:
            return
        try:
            if not self.options.replay:
                devices.device()
            for name in dict.fromkeys(cell.model for cell in self._planned):
                models.get(name).check_set_up()
        except CalbenchError as error:
            raise pytest.UsageError(f"calbench: {error}") from None

    def fixture(self, request: pytest.FixtureRequest) -> CalbenchFixture:
        """Return what the fixture gives a test."""
        log = request.node.stash.setdefault(LOG, TestLog())
        cell = getattr(request, "param", None)
        # pytest-xdist appends the group to the id; serial and parallel runs are to read alike.
        test = request.node.nodeid
        test = test.removesuffix(f"@{cell.model}") if cell else test
        mark = request.node.get_closest_marker(MARKER)
        grid = grid_of(**mark.kwargs) if mark else Grid()
        return CalbenchFixture(self, test, request.node.path.stem, grid, cell, log)

    def excused(self, cell: Cell, grid: Grid) -> Obstacle | None:
        """Return what keeps a cell of a grid from being measured here, if only a pattern picked it."""
        if self.imported is not None:
            missing = self.imported.missing(cell)
            named = grid.names("calibrators", cell.calibrator, self._selection())
            return None if missing is None or named else Obstacle(cell.calibrator, missing, ("calibrators",))
        return self._obstacles.excused(cell, grid, self._selection())

    def measured(self, cell: Cell) -> MeasuredCell:
        """Return a cell, to be measured when it is asked about."""
        return MeasuredCell(self.bench, cell, self.options.seeds)

    def arms(self, cell: Cell) -> tuple[ArmsResult, Row]:
        """Return a cell's arms for the first seed, and a row of results without gates."""
        if cell not in self._arms:
            if isinstance(self.bench, ImportedBench):
                raise InputError(
                    "arms are trained here, and no record holds them; run without --calbench-records"
                )
            try:
                result = ArmBench(self.bench).compare(
                    cell.model, cell.task, cell.quantizer, seed=self.options.seeds[0]
                )
                self._arms[cell] = result, arms_row(result)
            except CalbenchError as error:
                self._arms[cell] = error  # every other test of the cell would meet it again
        found = self._arms[cell]
        if isinstance(found, CalbenchError):
            raise found
        result, row = found
        return result, {**row, "gates": []}

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
        report.calbench = log.to_plain()  # type: ignore[attr-defined]
        accepted = [gate["accepted"] for gate in log.gates() if gate["accepted"]]
        if accepted and report.passed:  # only now: a later requirement of the test may have failed
            report.outcome = "skipped"
            report.wasxfail = f"accepted: {accepted[0]}"
        for row in log.rows:
            for metric, estimate in row["arms"]["transferred"].items():
                item.user_properties.append((f"calbench.transferred.{metric}", estimate["value"]))
        item.user_properties.extend(properties(log.gates()))

    def correct(self, reports: Sequence[pytest.TestReport]) -> None:
        """Correct all gates for their number, where that was asked for."""
        if self.options.correction == "holm":
            correct(self._config, self.options, reports)

    def _progress(self) -> TerminalProgress | Silence:
        if hasattr(self._config, "workerinput"):
            return Silence()  # a worker process of pytest-xdist has no terminal
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")

        def uncaptured() -> AbstractContextManager[None]:
            context: AbstractContextManager[None] = capture.global_and_fixture_disabled()
            return context

        return TerminalProgress(Console(), uncaptured if capture else nullcontext)

    def _cells(self, grid: Grid) -> list[Cell]:
        if self.imported is not None:
            return self.imported.cells(grid, self._selection())
        return grid.cells(self._selection(), PROFILES[self.options.profile])

    def _selection(self) -> Selection:
        return grid_of(**{axis: getattr(self.options, axis) for axis in AXES}).wanted


def _cell_of(item: pytest.Item) -> Cell | None:
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("calbench") if callspec else None
    return cell if isinstance(cell, Cell) else None
