"""Errors of the library name arguments; on the command line they are options."""

from __future__ import annotations

import re

_OPTIONS = {
    "answers": "--answers",
    "answers_column": "--answers-column",
    "candidate_epsilon": "--candidate-epsilon",
    "classes": "--classes",
    "columns": "--columns, --where, --row-ids",
    "executor": "--executor",
    "format_": "--format",
    "label_distribution": "--columns label_distribution=NAME",
    "model": "--model",
    "n": "--n",
    "quantizer": "--quantizer",
    "reference": "--reference",
    "reference_epsilon": "--reference-epsilon",
    "scorer": "--scorer",
    "scoring": "--per-character",
    "task": "--task",
    "tasks": "--task",
}
# The name alone, as in "leave out scorer=", or with a quoted value.
_ARGUMENT = re.compile(rf"(?<![\w-])({'|'.join(_OPTIONS)})=(?:'([^']*)'|(?=[\s,;:.)]|$))")


def in_options(message: str) -> str:
    """Return a message of the library as the command line says it.

    >>> in_options("leave out scoring=, or read it with format_='table'")
    'leave out --per-character, or read it with --format table'
    """
    return _ARGUMENT.sub(lambda found: " ".join(filter(None, (_OPTIONS[found[1]], found[2]))), message)
