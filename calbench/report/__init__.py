"""Results for people and for programs."""

from calbench.report._arms import arms_markdown, arms_row, arms_terminal, merge_arms
from calbench.report._attestation import attestation
from calbench.report._comment import comment
from calbench.report._comparisons import as_comparisons, gate_lines
from calbench.report._csv_table import csv_table
from calbench.report._evidence import evidence
from calbench.report._files import write
from calbench.report._format import (
    Axis,
    ComparisonRow,
    FurtherResults,
    Results,
    Row,
    Settings,
    SizeName,
    VariantsRow,
)
from calbench.report._html import html_page
from calbench.report._judged import MAX_ITEMS, Judged, by_quantizer, failed, judged, undecided
from calbench.report._leaderboard import markdown, summary, terminal
from calbench.report._plots import check_suffix as check_figure_suffix
from calbench.report._plots import pareto as draw_pareto
from calbench.report._plots import reliability as draw_reliability
from calbench.report._plots import save as save_figure
from calbench.report._plots import shift as draw_shift
from calbench.report._plots import transfer_matrix as draw_transfer_matrix
from calbench.report._precision import precision_json, precision_markdown
from calbench.report._progress import TerminalProgress
from calbench.report._rankings import rankings, rankings_markdown
from calbench.report._records import ImportedCells, cells_of_records
from calbench.report._rerun import rerun
from calbench.report._results import Describes, document, merge, row_of, verdict, write_json
from calbench.report._schema import combined, read_results, schema
from calbench.report._verification import Finding, verify

__all__ = [
    "MAX_ITEMS",
    "Axis",
    "ComparisonRow",
    "Describes",
    "Finding",
    "FurtherResults",
    "ImportedCells",
    "Judged",
    "Results",
    "Row",
    "Settings",
    "SizeName",
    "TerminalProgress",
    "VariantsRow",
    "arms_markdown",
    "arms_row",
    "arms_terminal",
    "as_comparisons",
    "attestation",
    "by_quantizer",
    "cells_of_records",
    "check_figure_suffix",
    "combined",
    "comment",
    "csv_table",
    "document",
    "draw_pareto",
    "draw_reliability",
    "draw_shift",
    "draw_transfer_matrix",
    "evidence",
    "failed",
    "gate_lines",
    "html_page",
    "judged",
    "markdown",
    "merge",
    "merge_arms",
    "precision_json",
    "precision_markdown",
    "rankings",
    "rankings_markdown",
    "read_results",
    "rerun",
    "row_of",
    "save_figure",
    "schema",
    "summary",
    "terminal",
    "undecided",
    "verdict",
    "verify",
    "write",
    "write_json",
]
