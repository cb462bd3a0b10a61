"""Errors of the library name what one writes in Python; the command line names options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import calbench
from calbench.cli._translation import in_options

ROOT = Path(calbench.__file__).parent
SURFACES = ("cli", "_pytest", "pytest_plugin.py", "pytest_options.py")
# Refusals of files and folders say what to write on the command line, where most files are read.
OF_FILES = ("records", "interchange", "tasks")
# Options of a program that the message names, of a picture's command, and where a host is allowed.
NAMED = re.compile(r"pytest --|calbench [a-z -]+--|pip install --|--allow-host|--calbench-device|--ctx-size")
SOURCES = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in SURFACES]


def raised(path):
    """Return each text that a raise statement of a file holds."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            texts = (n.value for n in ast.walk(node.exc) if isinstance(n, ast.Constant))
            yield node.lineno, "".join(text for text in texts if isinstance(text, str))


def test_no_error_of_the_library_tells_to_leave_out_an_option():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in SOURCES
        for line, text in raised(path)
        if re.search(r"leave out --(?:per-character|scorer|answers|task|columns)", text)
    ]
    assert not found


def test_errors_that_are_of_no_file_name_no_option():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] not in OF_FILES
        for line, text in raised(path)
        if re.search(r"(?<![\w-])--[a-z]", text) and not NAMED.search(text)
    ]
    assert not found


def test_the_command_line_says_the_option_for_an_argument():
    said = "a log has no columns; leave out scorer=, or read it as a table with format_='table'"
    assert (
        in_options(said)
        == "a log has no columns; leave out --scorer, or read it as a table with --format table"
    )
    assert in_options("write columns=probs=NAME and logits=a+b") == "write columns=probs=NAME and logits=a+b"
