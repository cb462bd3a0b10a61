"""What is printed and written of the variants that ``calbench.arms()`` compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import RenderableType

from calbench.report import Row, arms_markdown, arms_terminal, as_comparisons, gate_lines, write_json


def summarize_arms(
    reporter: pytest.TerminalReporter,
    rows: Sequence[Row],
    *,
    rendered: Callable[[RenderableType], str],
    folder: Path | None,
) -> None:
    """Print the tables of all arms and what the gates decided; write the report if one is wanted."""
    reporter.section("calbench arms")
    reporter.write(rendered(arms_terminal(rows)))
    for outcome, line in gate_lines(as_comparisons(rows)):
        reporter.write_line(f"{outcome:<12} {line}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "arms.md").write_text(arms_markdown(rows), encoding="utf-8")
        write_json({"arms": list(rows)}, folder / "arms.json")
        reporter.write_line(f"report: {folder}/arms.md and {folder}/arms.json")
