"""The summary page of a GitHub Actions job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calbench.report import Judged, Row, markdown

VARIABLE = "GITHUB_STEP_SUMMARY"
_MAX_BYTES = 900_000  # a step's summary may hold 1 MiB


def append(path: Path, rows: Sequence[Row], gates: Sequence[Judged], lines: Sequence[str]) -> None:
    """Append what the gates decided, each failure's explanation, and the leaderboard if it fits."""
    parts = ["## calbench", "", *[f"* {line}" for line in lines], ""]
    for gate in (each.gate for each in gates):
        if gate["outcome"] == "fail" and gate["explanation"]:
            title = f"✗ {gate['test'].split('::', 1)[-1]}" + (" (accepted)" if gate["accepted"] else "")
            parts += [
                f"<details><summary>{title}</summary>",
                "",
                "```",
                gate["explanation"],
                "```",
                "</details>",
                "",
            ]
    text = "\n".join(parts)
    board = markdown(rows) if rows else ""
    if len((text + board).encode()) > _MAX_BYTES:
        board = "The leaderboard is too long for this page; --calbench-report DIR writes it.\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n" + board.replace("# Leaderboard", "### Leaderboard", 1) + "\n")
