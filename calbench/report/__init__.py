"""Results for people and for programs."""

from calbench.report.comment import comment
from calbench.report.csv_table import csv_table
from calbench.report.files import write
from calbench.report.html import html_page
from calbench.report.leaderboard import markdown, summary, terminal
from calbench.report.progress import TerminalProgress
from calbench.report.records import ImportedCells, cells_of_records
from calbench.report.results import document, gate_of, merge, row_of, verdict, write_json
from calbench.report.schema import combined, read_results, schema

__all__ = [
    "ImportedCells",
    "TerminalProgress",
    "cells_of_records",
    "combined",
    "comment",
    "csv_table",
    "document",
    "gate_of",
    "html_page",
    "markdown",
    "merge",
    "read_results",
    "row_of",
    "schema",
    "summary",
    "terminal",
    "verdict",
    "write",
    "write_json",
]
