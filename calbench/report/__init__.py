"""Results for people and for programs."""

from calbench.report.leaderboard import markdown, summary, terminal
from calbench.report.progress import TerminalProgress
from calbench.report.results import document, gate_of, merge, row_of, verdict, write_json

__all__ = [
    "TerminalProgress",
    "document",
    "gate_of",
    "markdown",
    "merge",
    "row_of",
    "summary",
    "terminal",
    "verdict",
    "write_json",
]
