"""Holm's correction over all gates of a run: whether a failure stays one is known at the end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from calbench._pytest._log import is_undecided
from calbench._pytest._options import Options
from calbench.gates import Gate
from calbench.statistics import survivors


def correct(config: pytest.Config, options: Options, reports: Sequence[pytest.TestReport]) -> None:
    """Turn failures that do not survive into inconclusive gates; fail the tests of the others.

    A test whose gate failed by itself passed so far. Those that stay failures are reported now, in
    place of the report that said so.
    """
    held = [(report, gate) for report in reports for gate in _gates(report)]
    p_values = {str(i): 1.0 if g["p_value"] is None else g["p_value"] for i, (_, g) in enumerate(held)}
    kept = survivors(p_values, {str(i): g["level"] for i, (_, g) in enumerate(held)})
    failed: dict[int, tuple[pytest.TestReport, list[str]]] = {}
    for i, (report, gate) in enumerate(held):
        if gate["outcome"] != "fail":
            continue
        if str(i) not in kept:
            gate["outcome"] = "inconclusive"
            if options.inconclusive != "fail":
                _recount(config, report, options)
                continue
        if not gate["accepted"] and not report.failed:
            failed.setdefault(id(report), (report, []))[1].append(gate["explanation"] or "")
    for report, explanations in failed.values():
        _replace(config, report, "\n".join(explanations))


def _gates(report: pytest.TestReport) -> list[Gate]:
    # The very dictionaries that the summary will read.
    plain = report.calbench
    return [
        gate for part in (*plain["rows"], *plain["arms"], *plain["comparisons"]) for gate in part["gates"]
    ]


def _recount(config: pytest.Config, report: pytest.TestReport, options: Options) -> None:
    """Count a test that passed for the time being as undecided."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is None or options.inconclusive == "pass" or not is_undecided(report.calbench):
        return
    if report in terminal.stats.get("passed", ()):
        terminal.stats["passed"].remove(report)
        terminal.stats.setdefault("inconclusive", []).append(report)


def _replace(config: pytest.Config, report: pytest.TestReport, explanation: str) -> None:
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is not None:
        for reports in terminal.stats.values():
            if report in reports:
                reports.remove(report)
    corrected = pytest.TestReport(
        nodeid=report.nodeid,
        location=report.location,
        keywords=report.keywords,
        outcome="failed",
        longrepr=f"after Holm's correction over all gates of the run:\n{explanation}",
        when="call",
        duration=report.duration,
        user_properties=report.user_properties,
    )
    config.hook.pytest_runtest_logreport(report=corrected)
