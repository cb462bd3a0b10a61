"""Where among generated tokens the answer to a multiple-choice question stands, and what else could."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Blanks as tokenizers spell them (``convert_ids_to_tokens``).
_BLANKS = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"})
_DRESS = " \n\t()[]{}*.:,\"'`_"
_MARKED = re.compile(r"answer(?:\s+is)?\s*:?[\s*(\[\"'`$]*([A-Z])(?![A-Za-z0-9])", re.IGNORECASE)
_ALONE = re.compile(r"(?<![A-Za-z0-9])([A-Z])(?![A-Za-z0-9'’])")


@dataclass(frozen=True)
class Place:
    """The token that says the answer.

    Attributes
    ----------
    token
        Its entry among the log-probabilities.
    letter
        What it says, which is not the scored answer where choices were shuffled.
    """

    token: Mapping[str, Any]
    letter: str


def answer_place(tokens: Sequence[Mapping[str, Any]], answer: str) -> Place | None:
    """Return where an answer stands; None if it stands nowhere, or in several places.

    What follows "ANSWER:" comes first, then a text that begins with the letter, then its only
    occurrence.
    """
    texts = [plain_token(str(token["token"])) for token in tokens]
    text = "".join(texts)
    found = _spot(text, answer)
    if found is None:
        return None
    end, letter = 0, found[1]
    for token, part in zip(tokens, texts, strict=True):
        end += len(part)
        if found[0] < end:
            return Place(token, letter)
    return None


def plain_token(token: str) -> str:
    """Return a token's text, with blanks for what stands for them."""
    return token.translate(_BLANKS)


def _spot(text: str, answer: str) -> tuple[int, str] | None:
    marked = [(found.start(1), found[1].upper()) for found in _MARKED.finditer(text)]
    if marked:
        return next((spot for spot in marked if spot[1] == answer), marked[0])
    alone = [(found.start(1), found[1]) for found in _ALONE.finditer(text)]
    same = [spot for spot in alone if spot[1] == answer]
    if same and (len(same) == 1 or not text[: same[0][0]].strip(_DRESS)):
        return same[0]
    if not same and len(alone) == 1 and text.strip(_DRESS) == alone[0][1]:
        return alone[0]
    return None


def option_scores(token: Mapping[str, Any], letters: Sequence[str]) -> tuple[dict[str, float], str | None]:
    """Return each letter's log-probability over all its spellings, and the first that is not known."""
    spelled: dict[str, float] = {str(token["token"]): float(token["logprob"])}
    for top in token.get("top_logprobs") or ():
        spelled[str(top["token"])] = float(top["logprob"])
    found: dict[str, list[float]] = {}
    for text, value in spelled.items():
        found.setdefault(plain_token(text).strip(_DRESS), []).append(value)
    scores = {letter: float(np.logaddexp.reduce(found[letter])) for letter in letters if letter in found}
    return scores, next((letter for letter in letters if letter not in scores), None)
