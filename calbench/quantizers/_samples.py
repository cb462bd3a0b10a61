"""Quantization samples: the tokenised texts that a quantizer reads to choose its rounding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from calbench.errors import InputError


@dataclass(frozen=True)
class QuantizationSamples:
    """Tokenised texts, in order.

    They have nothing to do with calibration: no confidence is fitted on them.

    Parameters
    ----------
    token_ids
        One sequence of token ids per text, none of them empty.

    Raises
    ------
    InputError
        There are no texts, or one has no tokens.

    Examples
    --------
    >>> samples = QuantizationSamples(((5, 6), (7,)))
    >>> len(samples), samples.n_tokens, samples.take(1).token_ids
    (2, 3, ((5, 6),))
    """

    token_ids: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        rows = tuple(tuple(int(token) for token in row) for row in self.token_ids)
        if not rows:
            raise InputError("there are no quantization samples; give at least one text")
        for index, row in enumerate(rows):
            if not row:
                raise InputError(f"quantization sample {index} has no tokens; drop the text")
            if min(row) < 0:
                raise InputError(f"quantization sample {index} holds the token id {min(row)}; ids start at 0")
        object.__setattr__(self, "token_ids", rows)

    @classmethod
    def from_texts(cls, tokenizer: Any, texts: Iterable[str], *, max_length: int) -> QuantizationSamples:
        """Tokenise texts, each cut to ``max_length`` tokens, special tokens included."""
        texts = list(texts)
        if not texts:
            raise InputError("there are no quantization samples; give at least one text")
        rows = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        return cls(tuple(tuple(row) for row in rows))

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def n_tokens(self) -> int:
        """Number of tokens in all."""
        return sum(map(len, self.token_ids))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the token ids, in order."""
        return hashlib.sha256(json.dumps(self.token_ids).encode()).hexdigest()

    def take(self, n_samples: int) -> QuantizationSamples:
        """Return the first ``n_samples`` texts.

        Raises
        ------
        InputError
            There are fewer.
        """
        if n_samples > len(self):
            raise InputError(
                f"{n_samples} quantization samples are wanted but there are {len(self)};"
                f" give more texts, or ask for n_samples={len(self)} in the quantizer's id"
            )
        return QuantizationSamples(self.token_ids[:n_samples])
