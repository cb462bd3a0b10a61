"""Errors of the library name what one writes in Python; the command line names options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import calbench
from calbench.cli._translation import in_options

ROOT = Path(calbench.__file__).parent
SURFACES = ("cli", "_pytest", "pytest_plugin.py", "pytest_options.py")
# Options of a program that the message names.
NAMED = re.compile(
    r"pytest --|calbench [A-Za-z -]+--|pip install --|lm_eval with --|inspect eval with --"
    r"|llama-perplexity --|vLLM|llama-gguf-split --"
    r"|--no-log-samples|--calbench-items|--ctx-size"
)
SOURCES = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in SURFACES]


def texts(path):
    """Return each text of a file but its docstrings: what may be raised, or noted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            held = [part.value for part in node.values if isinstance(part, ast.Constant)]
            yield node.lineno, "".join(held)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs | parts:
            yield node.lineno, node.value


def test_no_text_of_the_library_names_an_option():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in SOURCES
        for line, text in texts(path)
        if re.search(r"\w \w", text) and re.search(r"(?<![\w-])--[a-z]", text) and not NAMED.search(text)
    ]
    assert not found


def test_the_command_line_says_the_option_for_an_argument():
    said = "a log has no columns; leave out scorer=, or read it as a table with format_='table'"
    assert (
        in_options(said)
        == "a log has no columns; leave out --scorer, or read it as a table with --format table"
    )
    assert in_options(
        "as in ColumnNames(classes=('A', 'B')), or read doc.gold with ColumnNames(label='doc.gold[0]')"
    ) == ("as in --classes A,B, or read doc.gold with --columns label=doc.gold[0]")
    assert (
        in_options("name them with ColumnNames(where=...), mend ColumnNames(...)")
        == "name them with --where, mend --columns"
    )
    assert (
        in_options("ColumnNames(where={'model': '*'}) pools; set CALBENCH_TRUST_LM_EVAL_CODE=1")
        == "--where model=* pools; set --trust-lm-eval-code"
    )
    assert in_options("write columns=probs=NAME and logits=a+b") == "write columns=probs=NAME and logits=a+b"
