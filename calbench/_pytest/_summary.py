"""The end of a run: baselines are accepted, the leaderboard is printed, the report is written."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from calbench import baselines
from calbench._pytest import _counts, _github
from calbench._pytest._baseline_update import UPDATE, update
from calbench._pytest._log import TestLog, by_a_gate, log_of
from calbench._pytest._options import Options
from calbench.escaping import encodable
from calbench.report import (
    Describes,
    FurtherResults,
    Row,
    Settings,
    arms_terminal,
    document,
    judged,
    merge,
    merge_arms,
    rankings,
    terminal,
    write,
)
from calbench.runs import ALL_ITEMS
from calbench.store import Store, keep_limit


class Summary:
    """What is done with all results, in the process that has them all."""

    def __init__(self, config: pytest.Config, options: Options, store: Describes, started: datetime) -> None:
        self._config, self._options, self._store, self._started = config, options, store, started
        self._baseline_notes: list[str] = []
        self._gone: Mapping[str, Sequence[str]] = {}
        self.left_out: Mapping[str, int] = {}  # by the mark that says why
        self._stale: list[tuple[str, str, bool]] = []
        # Whether a folder that could be written when the run began cannot be any more.
        self.could_not_write = False

    def accept(self, reports: Sequence[pytest.TestReport], *, complete: bool) -> None:
        """Write what the tests offered as baselines, if the run is complete and green."""
        folder = self._options.baseline
        if not self._options.update_baseline or folder is None:
            return
        offered = [payload for log in _logs(reports) for payload in log.baselines]
        if not complete:
            note = (
                "baselines not updated: the run was not complete and green, and they hold what was accepted"
            )
        elif not offered:
            note = "baselines not updated: no test required anything against='baseline'"
        else:
            note = self._updated(folder, offered)
            self._gone = {}
        self._baseline_notes.append(note)

    def _updated(self, folder: Path, offered: Sequence[Mapping[str, Any]]) -> str:
        try:
            changed, total = update(folder, offered, self._gone)
        except OSError as error:
            self.could_not_write = True
            return f"baselines not updated, or not all: {error}"
        n_gone = sum(map(len, self._gone.values()))
        removed = f", {n_gone} removed" if n_gone else ""
        return f"baselines: {changed} of {total} changed{removed} in {_shown(folder)}; review and commit them"

    def look_for_gone(self, collected: Mapping[str, Sequence[str]]) -> None:
        """Remember baselines of cells that the suites no longer have, if the whole suites were collected."""
        options = self._options
        narrowed = (options.models, options.tasks, options.quantizers, options.calibrators)
        if options.baseline is None or any(narrowed):
            return
        profile = ALL_ITEMS.name if options.records else options.profile
        self._gone = baselines.stale(options.baseline, collected, profile=profile)

    def _gone_lines(self) -> list[str]:
        found = [name for names in self._gone.values() for name in names]
        if not found or self._options.baseline is None:
            return []
        named = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        return [
            f"{len(found)} stale baselines in {_shown(self._options.baseline)}: their cells are gone"
            f" ({named}); the next {UPDATE} removes them"
        ]

    def look_for_accepted(self, reports: Sequence[pytest.TestReport]) -> bool:
        """Note globs that requirements accept and that accept nothing; returns whether there are any.

        A glob of a test is in use if a gate that it fits is not shown to hold. Nothing is said of tests of
        which this run took a part.
        """
        fits: dict[tuple[str, str], set[str]] = {}
        for report in reports:
            log = log_of(report)
            if log is not None and log.whole:
                for glob, outcome in log.accepted:
                    fits.setdefault((report.nodeid.partition("[")[0], glob), set()).add(outcome)
        self._stale = [
            (test, glob, bool(outcomes - {""}))
            for (test, glob), outcomes in sorted(fits.items())
            if not outcomes & {"fail", "inconclusive"}
        ]
        return bool(self._stale)

    def summarize(self, reporter: pytest.TerminalReporter, reports: Sequence[pytest.TestReport]) -> None:
        """Print what the gates decided, with -v the tables as well; write the report if one is wanted."""
        logs = _logs(reports)
        arms = merge_arms(row for log in logs for row in log.arms)
        measured = [row for log in logs for row in log.rows]
        rows = merge(measured)
        comparisons = sorted(
            (c for log in logs for c in log.comparisons if c["gates"]), key=lambda c: c["name"]
        )
        gates = judged(rows, variants=arms, comparisons=comparisons)
        is_verbose = reporter.verbosity > 0
        notes = [
            *_counts.verdict_lines(gates, self._options, all_of_them=is_verbose),
            *_counts.stale_lines(self._stale),
            *_counts.harm_lines(rows),
            *_counts.skip_lines(logs),
            *_counts.left_out_lines(self.left_out),
            *(_counts.Line(note, is_warning=True) for note in (*self._baseline_notes, *self._gone_lines())),
            *_counts.unasked_lines(sum(log.unasked for log in logs)),
        ]
        errors = [_said(report) for report in reports if report.failed and not by_a_gate(report)]
        if not (rows or arms or notes or errors):
            return
        reporter.ensure_newline()
        reporter.section(f"calbench: {_counts.headline(gates, self._options, n_broken=len(errors))}")
        for line in notes:
            reporter.write_line(self._encodable(line.text), yellow=line.is_warning)
        if self._options.report:
            more: FurtherResults = {
                "comparisons": comparisons,
                "variants": arms,
                "rankings": rankings(measured),
                "errors": errors,
            }
            reporter.write_line(self._write_report(self._options.report, rows, more))
        if isinstance(self._store, Store) and (note := keep_limit(self._store, used_since=self._started)):
            reporter.write_line(note)
        if is_verbose:
            for table in ([arms_terminal(arms)] if arms else []) + ([terminal(rows)] if rows else []):
                reporter.write(self._encodable(self._rendered(table)))
        page = os.environ.get(_github.VARIABLE)
        if page:
            _github.append(Path(page), rows, gates, [line.text for line in notes])

    def _write_report(self, folder: Path, rows: list[Row], more: FurtherResults) -> str:
        settings: Settings = {
            "profile": self._options.profile,
            "seeds": list(self._options.seeds),
            "n_resamples": self._options.resamples,
            "level": self._options.level,
            "bootstrap_seed": self._options.bootstrap_seed,
            "correction": self._options.correction,
        }
        contents = document(rows, settings=settings, store=self._store)
        try:
            write(folder, {**contents, **more})
        except OSError as error:
            self.could_not_write = True
            return f"report not written, or not all of it: {error}"
        return f"report: {_shown(folder)}/report.html; every table and number is there (-v prints the tables)"

    def _encodable(self, text: str) -> str:
        """Return text that the terminal's encoding has letters for."""
        file = getattr(self._config.get_terminal_writer(), "_file", None)
        return encodable(text, getattr(file, "encoding", None))

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


def _logs(reports: Sequence[pytest.TestReport]) -> list[TestLog]:
    return [log for report in reports if (log := log_of(report)) is not None]


def _said(report: pytest.TestReport) -> str:
    """Return a failed test's id and the first line of its error."""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = (crash.message if crash else report.longreprtext).strip() or "no message"
    return f"{report.nodeid}: {said.splitlines()[0]}"


def _shown(folder: Path) -> str:
    try:
        return folder.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return folder.as_posix()
