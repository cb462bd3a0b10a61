"""What calbench does in a pytest run: cells, gates, failures that explain themselves, the summary."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from rich.console import Console, RenderableType

from calbench import models
from calbench.errors import BackendUnavailableError, CalbenchError, InputError
from calbench.experiments import PROFILES, Bench, Cell, Grid, Measured, Selection, Silence, grid_of
from calbench.experiments.cells import AXES
from calbench.report import TerminalProgress, document, gate_of, markdown, merge, row_of, terminal, write_json
from calbench.report.results import Row
from calbench.statistics import GateDecision
from calbench.store import Store

_ROWS = pytest.StashKey[list[Row]]()


class Session:
    """The calbench side of one pytest process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._planned: list[Cell] = []

    @cached_property
    def bench(self) -> Bench:
        """The bench that serves this process."""
        return Bench(
            self.store,
            PROFILES[self._option("profile")],
            planned=self._planned,
            progress=self._progress(),
            replay=self._option("replay"),
        )

    @cached_property
    def store(self) -> Store:
        """The store that the options name."""
        return Store.at(self._option("store"))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the divisions; gates use the first."""
        seeds: tuple[int, ...] = self._option("seeds")
        return seeds

    def check_options(self) -> None:
        """Refuse selections that match nothing and report folders that are files."""
        report = self._option("report")
        if report and Path(report).exists() and not Path(report).is_dir():
            raise pytest.UsageError(f"--calbench-report={report}: there is a file of that name")
        try:
            Grid().cells(self._selection(), PROFILES[self._option("profile")])
        except CalbenchError as error:
            raise pytest.UsageError(f"calbench: {error}") from None

    def parametrize(self, metafunc: pytest.Metafunc, mark: pytest.Mark) -> None:
        """Make one test of each cell that a grid picks and the command line leaves."""
        try:
            cells = grid_of(**mark.kwargs).cells(self._selection(), PROFILES[self._option("profile")])
        except CalbenchError as error:
            raise pytest.Collector.CollectError(
                f"{metafunc.definition.nodeid}: calbench.grid: {error}"
            ) from None
        metafunc.parametrize("calbench", cells, indirect=True, ids=[cell.id for cell in cells])

    def plan(self, items: list[pytest.Item]) -> None:
        """Remember the selected cells; stop at once if ``calbench setup`` has not been run."""
        cells = [c for item in items if (c := _cell_of(item)) is not None]
        self._planned[:] = dict.fromkeys(cells)
        if self._config.option.collectonly or not self._planned:
            return
        try:
            for name in dict.fromkeys(cell.model for cell in self._planned):
                models.get(name).check_set_up()
        except CalbenchError as error:
            raise pytest.UsageError(f"calbench: {error}") from None

    def cell_under_test(self, request: pytest.FixtureRequest) -> CellUnderTest:
        """Return what the fixture gives a test."""
        rows = request.node.stash.setdefault(_ROWS, [])
        return CellUnderTest(self, request.param, request.node.nodeid, rows)

    def measure(self, cell: Cell) -> list[Measured]:
        """Return a cell's result for every seed; skips what cannot run here, fails on bad input."""
        try:
            return [self.bench.transfer(cell, seed=seed) for seed in self.seeds]
        except CalbenchError as error:
            problem = error
        # Outside of the handler, or pytest would show the traceback as well.
        if isinstance(problem, BackendUnavailableError):
            pytest.skip(str(problem))
        pytest.fail(f"{cell.id}: {type(problem).__name__}: {problem}", pytrace=False)

    def inconclusive_fails(self) -> bool:
        """Whether an inconclusive gate fails its test."""
        return bool(self._option("inconclusive") == "fail")

    def attach(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Put a test's results on its report, and the main figures among its properties (JUnit)."""
        cell = _cell_of(item)
        if cell is not None and report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            report.calbench_skipped = (cell.quantizer, reason)  # type: ignore[attr-defined]
        rows = item.stash.get(_ROWS, [])
        if not rows:
            return
        report.calbench = rows  # type: ignore[attr-defined]
        accepted = [gate["accepted"] for row in rows for gate in row["gates"] if gate["accepted"]]
        if accepted and report.passed:  # only now: a later requirement of the test may have failed
            report.outcome = "skipped"
            report.wasxfail = f"accepted: {accepted[0]}"
        for row in rows:
            for metric, estimate in row["arms"]["transferred"].items():
                item.user_properties.append((f"calbench.transferred.{metric}", estimate["value"]))
            for gate in row["gates"]:
                item.user_properties.append((f"calbench.gate.{gate['metric']}", gate["outcome"]))

    def summarize(self, reporter: pytest.TerminalReporter, rows: list[Row]) -> None:
        """Print the leaderboard and what the gates decided; write the report if one is wanted."""
        merged = merge(rows)
        reporter.section("calbench leaderboard")
        reporter.write(self._rendered(terminal(merged)))
        self._gates(reporter, merged)
        folder = self._option("report")
        if folder:
            self.write_report(Path(folder), merged)
            reporter.write_line(f"report: {folder}/leaderboard.md and {folder}/results.json")

    def say_skipped(self, reporter: pytest.TerminalReporter, skipped: Sequence[tuple[str, str]]) -> None:
        """Say which quantizers' cells did not run, and why: pytest counts skips but hides the reasons."""
        for (quantizer, reason), count in Counter(skipped).items():
            reporter.write_line(f"calbench skipped {count} cells of {quantizer}: {reason}", yellow=True)

    def write_report(self, folder: Path, rows: list[Row]) -> None:
        """Write the leaderboard and the results."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "leaderboard.md").write_text(markdown(rows), encoding="utf-8")
        settings = {
            "profile": self._option("profile"),
            "seeds": list(self.seeds),
            "n_resamples": self.bench.n_resamples,
            "level": self.bench.level,
        }
        write_json(document(rows, settings=settings, store=self.store), folder / "results.json")

    def _gates(self, reporter: pytest.TerminalReporter, rows: list[Row]) -> None:
        gates = [gate for row in rows for gate in row["gates"]]
        if not gates:
            return
        counts = Counter(gate["outcome"] for gate in gates)
        n_accepted = sum(gate["accepted"] is not None for gate in gates)
        reporter.write_line(
            f"gates: {counts['pass']} passed, {counts['fail']} failed, {counts['inconclusive']} inconclusive"
            + (f"; {n_accepted} accepted" if n_accepted else "")
        )
        open_gates = [gate for gate in gates if gate["outcome"] == "inconclusive"]
        needed = sorted(gate["items_needed"] for gate in open_gates if gate["items_needed"])
        if needed and self._option("inconclusive") != "pass":
            reporter.write_line(
                f"inconclusive: too few test items to tell; about {needed[0]:,} to {needed[-1]:,} would"
                " decide them one by one (items_needed in results.json)",
                yellow=True,
            )
        hurt = sum(row["benefit"]["ece"]["interval"][1] < 0 for row in rows)
        if hurt:
            reporter.write_line(
                f"in {hurt} of {len(rows)} cells the transferred calibrator makes ECE worse than none (▼)",
                yellow=True,
            )

    def _rendered(self, renderable: RenderableType) -> str:
        color = self._config.get_terminal_writer().hasmarkup
        console = Console(
            file=io.StringIO(),
            force_terminal=color,
            no_color=not color,
            width=max(self._config.get_terminal_writer().fullwidth, 100),
        )
        with console.capture() as capture:
            console.print(renderable)
        return capture.get()

    def _progress(self) -> TerminalProgress | Silence:
        if hasattr(self._config, "workerinput"):
            return Silence()  # a worker process of pytest-xdist has no terminal
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")

        def uncaptured() -> AbstractContextManager[None]:
            context: AbstractContextManager[None] = capture.global_and_fixture_disabled()
            return context

        return TerminalProgress(Console(), uncaptured if capture else nullcontext)

    def _selection(self) -> Selection:
        return grid_of(**{axis: self._option(axis) for axis in AXES}).wanted

    def _option(self, name: str) -> Any:
        return self._config.getoption(f"calbench_{name}")


class CellUnderTest:
    """The fixture ``calbench``: one cell, on which a test states what must hold.

    Attributes
    ----------
    cell
        The ids of its model, task, quantizer and calibrator.
    """

    def __init__(self, session: Session, cell: Cell, test: str, rows: list[Row]) -> None:
        self.cell = cell
        self._session, self._test, self._rows = session, test, rows

    def transfer(self) -> TransferUnderTest:
        """Fit the calibrator on the full-precision model and use it on the quantized one."""
        measured = self._session.measure(self.cell)
        row = row_of(measured)
        self._rows.append(row)
        return TransferUnderTest(self._session, measured[0], row, self._test)


class TransferUnderTest:
    """A transfer result on which gates can be required.

    Attributes
    ----------
    result
        The numbers, a :class:`calbench.experiments.TransferResult`.
    """

    def __init__(self, session: Session, measured: Measured, row: Row, test: str) -> None:
        self.result = measured.result
        self._measured, self._row, self._test = measured, row, test
        self._session = session

    def require(
        self,
        metric: str = "ece",
        *,
        max_increase: float | None = None,
        max_relative_increase: float | None = None,
        against: str = "calibrated_reference",
        accepted: Mapping[str, str] = MappingProxyType({}),
    ) -> TransferUnderTest:
        """Fail the test if the metric got worse by more than a margin.

        Parameters
        ----------
        metric
            ``"ece"``, ``"nll"``, ``"brier"`` or ``"accuracy"`` (for which worse is lower).
        max_increase
            How much worse is accepted, in the metric's unit.
        max_relative_increase
            Or: as a share of what it is compared with, 0.05 for 5%.
        against
            The arm to compare the transferred calibrator with: ``"calibrated_reference"``,
            ``"raw_reference"``, ``"raw_candidate"`` or ``"native"``.
        accepted
            Regressions that were looked at and accepted: a cell's id, or a glob of ids, and the
            reason. Such a cell is measured and shown as failed, but its test counts as an expected
            failure.

        Returns
        -------
        TransferUnderTest
            Itself, for a further requirement.
        """
        if (max_increase is None) == (max_relative_increase is None):
            raise InputError("give one of max_increase and max_relative_increase")
        relative = max_increase is None
        margin = max_relative_increase if max_increase is None else max_increase
        assert margin is not None  # noqa: S101 (one of the two is given)
        try:
            decision = self.result.decide(metric, reference=against, margin=margin, relative=relative)
        except CalbenchError as error:
            problem = str(error)
        else:
            problem = ""
        if problem:
            pytest.fail(f"{self._measured.cell.id}: {problem}", pytrace=False)
        gate = gate_of(decision, test=self._test, candidate="transferred", reference=against)
        self._row["gates"].append(gate)
        if decision.outcome == "fail" or (
            decision.outcome == "inconclusive" and self._session.inconclusive_fails()
        ):
            cell = self._measured.cell.id
            gate["accepted"] = next(
                (why for glob, why in accepted.items() if cell == glob or fnmatchcase(cell, glob)), None
            )
            if not gate["accepted"]:
                pytest.fail(self._explain(decision, against), pytrace=False)
        return self

    def _explain(self, decision: GateDecision, against: str) -> str:
        cell, m = self._measured.cell, self._measured
        low, high = decision.interval
        verb = "got worse" if decision.outcome == "fail" else "may have got worse"
        unit = " (relative)" if decision.relative else ""
        lines = [
            f"{decision.metric} {verb} by more than the margin {decision.margin:+g}{unit}",
            f"  model {cell.model}, task {cell.task}, quantizer {cell.quantizer},"
            f" calibrator {cell.calibrator}",
            f"  {against.replace('_', ' ')} {decision.reference_value:.4f} -> transferred"
            f" {decision.candidate_value:.4f}: Δ = {decision.delta:+.4f}{unit}, {decision.level:.0%} interval"
            f" [{low:+.4f}, {high:+.4f}], n = {decision.n:,} test items, seed {m.seed}",
            f"  raw: reference {self.result.raw_reference[decision.metric].value:.4f}, quantized"
            f" {self.result.raw_candidate[decision.metric].value:.4f}; refitted on the quantized model:"
            f" {self.result.native[decision.metric].value:.4f}",
            f"  records: reference {m.reference.key}",
            f"           candidate {m.candidate.key}",
        ]
        if decision.items_needed:
            lines.append(f"  about {decision.items_needed:,} test items would decide it")
        lines += [f"  note: {warning}" for warning in self.result.warnings]
        return "\n".join(lines)


def _cell_of(item: pytest.Item) -> Cell | None:
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("calbench") if callspec else None
    return cell if isinstance(cell, Cell) else None
