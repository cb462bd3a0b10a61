"""Modules, classes and functions stay of a size that one reads at a sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import calbench

ROOT = Path(calbench.__file__).parent
SOURCES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(function, lines):
    """Lines that are neither empty, nor a comment, nor in a docstring; the signature and decorators count."""
    docs = {
        number
        for node in ast.walk(function)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for number in range(node.lineno, node.end_lineno + 1)
    }
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    held = {n: lines[n - 1].strip() for n in range(first, function.end_lineno + 1) if n not in docs}
    return sum(bool(text) and not text.startswith("#") for text in held.values())


def is_value(function):
    """Whether it is read as an attribute is: properties are not called."""
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_no_module_is_longer_than_400_lines():
    long = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: n for name, n in long.items() if n > 400} == {}


def test_no_class_has_more_than_14_public_methods():
    found = {}
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                own = {m.name for m in node.body if isinstance(m, FUNCTIONS) and not is_value(m)}
                found[f"{path.name}: {node.name}"] = len([name for name in own if not name.startswith("_")])
    assert {name: n for name, n in found.items() if n > 14} == {}


def test_no_function_outside_of_the_command_line_has_more_than_50_lines_of_code():
    found = {}
    for path, tree in SOURCES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        if "cli" not in path.relative_to(ROOT).parts:
            for node in ast.walk(tree):
                if isinstance(node, FUNCTIONS):
                    found[f"{path.name}: {node.name}"] = lines_of_code(node, lines)
    assert {name: n for name, n in found.items() if n > 50} == {}
