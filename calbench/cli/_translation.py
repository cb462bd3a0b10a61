"""Errors of the library name arguments; on the command line they are options."""

from __future__ import annotations

import ast
import re
from typing import Any

# Fields of ColumnNames that have an option of their own.
_OF_ROWS = ("classes", "confidence_kind", "label_start", "percent", "renormalise", "row_ids", "where")
_OPTIONS = {
    "answers": "--answers",
    "answers_column": "--answers-column",
    "candidate_epsilon": "--candidate-epsilon",
    "CALBENCH_TRUST_LM_EVAL_CODE": "--trust-lm-eval-code",
    "classes": "--classes",
    "columns": "--columns, --where, --row-ids",
    "executor": "--executor",
    "format_": "--format",
    "label_distribution": "--columns label_distribution=NAME",
    "label": "--label",
    "model": "--model",
    "n": "--n",
    "quantizer": "--quantizer",
    "reference": "--reference",
    "reference_epsilon": "--reference-epsilon",
    "scorer": "--scorer",
    "scoring": "--per-character",
    "task": "--task",
    "tasks": "--task",
    "text": "--text",
}
# The name alone, as in "leave out scorer=", or with a value.
_ARGUMENT = re.compile(rf"(?<![\w-])({'|'.join(_OPTIONS)})=(?:('[^']*'|\[[^\]]*\]|1)|(?=[\s,;:.)]|$))")
_COLUMNS = re.compile(r"ColumnNames\((?:[^()']|'[^']*'|\([^()]*\))*\)")


def in_options(message: str) -> str:
    """Return a message of the library as the command line says it.

    >>> in_options("leave out scoring=, or read it with format_='table'")
    'leave out --per-character, or read it with --format table'
    >>> in_options("as in ColumnNames(probs='p_*', label='gold', percent=True, where={'model': 'a'})")
    'as in --columns probs=p_*,label=gold --percent --where model=a'
    """
    return _ARGUMENT.sub(_of_argument, _COLUMNS.sub(_of_columns, message))


def _of_argument(found: re.Match[str]) -> str:
    option, value = _OPTIONS[found[1]], found[2]
    if value in (None, "1"):
        return option
    held = ast.literal_eval(value)
    return f"{option} {held if isinstance(held, str) else ','.join(map(str, held))}"


def _of_columns(found: re.Match[str]) -> str:
    """Say what :class:`calbench.records.ColumnNames` is given; ``...`` is for the reader to fill in."""
    try:
        call = ast.parse(found[0], mode="eval").body
    except SyntaxError:  # of a name with a quote in it
        return found[0]
    columns: list[str] = []
    others: list[str] = []
    if not isinstance(call, ast.Call) or not call.keywords:
        return "--columns"
    for word in call.keywords:
        name, value = str(word.arg), ast.literal_eval(word.value)
        option = "--" + name.replace("_", "-")
        if name in _OF_ROWS:
            others.append(f"{option}{_spelled(value)}")
        else:
            columns.append(f"{name}={'NAME' if value is ... else value}")
    return " ".join([*([f"--columns {','.join(columns)}"] if columns else []), *others])


def _spelled(value: Any) -> str:
    """Spell an option's value: none for a switch and for what is left open."""
    if value is True or value is ...:
        return ""
    if isinstance(value, dict):
        value = [f"{name}={wanted}" for name, wanted in value.items()]
    return " " + (",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
