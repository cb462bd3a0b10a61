r"""What others can read as it is: names in a terminal and in markdown, numbers in JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_MARKDOWN = re.compile(r"([\\`*_~|<>\[\]#])")
# Inside a word an underscore emphasises nothing, and quantizers' ids are full of them.
_WORD_UNDERSCORE = re.compile(r"(?<=\w)\\_(?=\w)")

# What the words are of marks that an ASCII terminal cannot show.
_IN_ASCII = {
    "✓": "ok",
    "✗": "FAIL",
    "▼": "v",
    "▽": "w",
    "Δ": "change",
    "≥": ">=",
    "≤": "<=",
    "†": "+",
    "×": "x",
    "→": "->",
    "–": "-",
    "−": "-",
    "·": "-",
}


def printable(text: str) -> str:
    r"""Return text without control characters: a model's name must not move the cursor.

    >>> printable("a\x1b[31mb")
    'a?[31mb'
    """
    return "".join(c if c == "\n" or (c.isprintable() and not _turns_text(c)) else "?" for c in text)


def markdown_text(text: str) -> str:
    r"""Return text that markdown shows literally, on one line and in one cell of a table.

    >>> markdown_text("a|b <script> bnb-nf4[skip=x_y]")
    'a\\|b \\<script\\> bnb-nf4\\[skip=x_y\\]'
    """
    flat = printable(" ".join(text.split()))
    return _WORD_UNDERSCORE.sub("_", _MARKDOWN.sub(r"\\\1", flat))


def encodable(text: str, encoding: str | None) -> str:
    r"""Return text that an encoding has letters for: marks become words, and frames of tables dashes.

    >>> encodable("0.05 ✓ Δ", "ascii")
    '0.05 ok change'
    >>> encodable("0.05 ✓ Δ", "utf-8")
    '0.05 ✓ Δ'
    """
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        plain = "".join(_IN_ASCII.get(c) or _frame(c) for c in text)
        return plain.encode("ascii", "backslashreplace").decode("ascii")
    return text


def _frame(character: str) -> str:
    """Return a character of a table's frame in ASCII; any other one as it is."""
    if not "\u2500" <= character <= "\u257f":
        return character
    return {"─": "-", "━": "-", "│": "|", "┃": "|"}.get(character, "+")


def plain_json(value: Any) -> Any:
    """Return contents as JSON has them: no infinity and no NaN (written as text), and no tuples.

    >>> plain_json({"interval": (0.5, float("inf"))})
    {'interval': [0.5, 'inf']}
    """
    if isinstance(value, Mapping):
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _turns_text(character: str) -> bool:
    """Whether a character changes the direction of the text after it."""
    return "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
