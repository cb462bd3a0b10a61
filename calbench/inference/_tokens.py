"""Texts as tokens: special tokens once, what a model keeps of a text too long, and label words in context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.tasks import ClassificationRequest, LabelledItem

# Prompts that label words are tokenised after; a word must be one and the same token after each.
N_PROMPTS = 8


@dataclass(frozen=True)
class Text:
    """One input in tokens. Equal texts are equal: they are asked once.

    Parameters
    ----------
    tokens
        Its tokens, special ones included.
    types
        The segment of each token, where the tokenizer tells segments apart; empty otherwise.
    """

    tokens: tuple[int, ...]
    types: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


def prompt_tokens(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts that a causal LM goes on with.

    A text that spells out the first special token, or all that a tokenizer puts before a text (GLM's
    ``[gMASK]<sop>``), does not get it twice, and what a tokenizer puts behind a text that is complete
    (T5's ``</s>``) is left out.
    """
    first, n_closing = _around(tokenizer)
    added = "".join(tokenizer.convert_ids_to_tokens(first)) if first else ""
    openings = tuple(filter(None, (tokenizer.bos_token, added)))
    spelled = [prompt.startswith(openings) for prompt in prompts]
    rows: list[list[int]] = [[] for _ in prompts]
    for spells in set(spelled):
        places = [i for i, s in enumerate(spelled) if s == spells]
        found = tokenizer(
            [prompts[i] for i in places], truncation=False, verbose=False, add_special_tokens=not spells
        )["input_ids"]
        for i, tokens in zip(places, found, strict=True):
            rows[i] = tokens[:-n_closing] if n_closing and not spells else list(tokens)
    return rows


def _around(tokenizer: Any) -> tuple[list[int], int]:
    """Return the tokens that a tokenizer puts before a text, and how many it puts behind it."""
    whole = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    n_around = len(whole) - len(bare)
    n_first = next((n for n in range(n_around + 1) if whole[n : n + len(bare)] == bare), n_around)
    return list(whole[:n_first]), int(n_around - n_first)


def _n_opening(tokenizer: Any, tokens: Sequence[int]) -> int:
    """How many tokens at the beginning of a prompt must stay when it is cut: its ``bos`` and the like."""
    first, _ = _around(tokenizer)
    if first and list(tokens[: len(first)]) == first:
        return len(first)
    return int(len(tokens) > 0 and tokens[0] == tokenizer.bos_token_id)


def last_part(tokenizer: Any, tokens: Sequence[int], n_kept: int) -> list[int]:
    """The end of a prompt, ``n_kept`` tokens, which asks the question; ``bos`` and its like stay."""
    if len(tokens) <= n_kept:
        return list(tokens)
    first = min(_n_opening(tokenizer, tokens), n_kept - 1)
    return [*tokens[:first], *tokens[len(tokens) - n_kept + first :]]


def encode(
    tokenizer: Any, source: ModelSource, request: ClassificationRequest, items: Sequence[LabelledItem]
) -> tuple[list[Text], int]:
    """Return each text's tokens, cut to the model's length, and how many were cut."""
    texts = [asked(request, item) for item in items]
    if request.scoring == "label-words":
        rows = [Text(tuple(tokens)) for tokens in prompt_tokens(tokenizer, texts)]
    else:
        seconds = [request.second(item) for item in items]
        if any(seconds):
            return _for_head(tokenizer, texts, source.max_length, text_pair=list(seconds))
        return _for_head(tokenizer, texts, source.max_length)
    n_cut = sum(len(row) > source.max_length for row in rows)
    return [Text(tuple(last_part(tokenizer, row.tokens, source.max_length))) for row in rows], n_cut


def asked(request: ClassificationRequest, item: LabelledItem) -> str:
    """The text that is shown; a space that ends a prompt belongs to the label word."""
    text = request.text(item)
    return text.rstrip(" ") if request.scoring == "label-words" else text


def _whole_texts(tokenizer: Any, texts: Sequence[str], **more: Any) -> list[Text]:
    found = tokenizer(list(texts), **{"truncation": False, "verbose": False, **more})
    types = found.get("token_type_ids") or [()] * len(texts)
    return [Text(tuple(t), tuple(s)) for t, s in zip(found["input_ids"], types, strict=True)]


def _for_head(tokenizer: Any, texts: Sequence[str], max_length: int, **more: Any) -> tuple[list[Text], int]:
    """Return texts, or pairs of them, cut as the tokenizer does it: what it puts at the end of a text stays.

    Of a pair that is too long the longer text is cut.
    """
    whole = _whole_texts(tokenizer, texts, **more)
    if not (n_cut := sum(len(row) > max_length for row in whole)):
        return whole, 0
    cut = {"truncation": "longest_first", "max_length": max_length}
    return _whole_texts(tokenizer, texts, **more, **cut), n_cut


def label_tokens(tokenizer: Any, request: ClassificationRequest, items: Sequence[LabelledItem]) -> list[int]:
    """Return the one token with which each label word goes on after the task's prompts.

    Raises
    ------
    InputError
        A word is several tokens there, unknown, or the same token as another.
    """
    return single_tokens(
        tokenizer, request.label_words, [asked(request, item) for item in islice(items, N_PROMPTS)]
    )


def single_tokens(tokenizer: Any, words: Sequence[str], prompts: Sequence[str]) -> list[int]:
    """Return each word's one token after the prompts; raises :class:`InputError` if there is none.

    Words are tokenised where they stand, so that one spelling serves tokenizers that mark a word's
    beginning (sentencepiece) and those that keep the space before it. A space that the words leave out
    is put in where the word is one token only with it.
    """
    tokens = [_single_token(tokenizer, word, prompts) for word in words]
    for i, token in enumerate(tokens):
        if (first := tokens.index(token)) < i:
            raise InputError(
                f"the label words {words[first]!r} and {words[i]!r} are one and the same token in this"
                " model's vocabulary; choose another word"
            )
    return tokens


def _single_token(tokenizer: Any, word: str, prompts: Sequence[str]) -> int:
    added: list[list[int]] = []
    for spelling in dict.fromkeys((word, f" {word.lstrip()}")):
        added = _added(tokenizer, spelling, prompts)
        known = added[0] and added[0][0] != tokenizer.unk_token_id
        if known and all(tokens == added[0] and len(tokens) == 1 for tokens in added):
            return added[0][0]
    counts = sorted({len(tokens) for tokens in added})
    if counts == [1] and any(tokens[0] == tokenizer.unk_token_id for tokens in added):
        raise InputError(f"the label word {word!r} is not in this model's vocabulary; choose another word")
    raise InputError(
        f"the label word {word!r} is {' or '.join(map(str, counts))} tokens in this model's vocabulary after"
        f" the prompt {prompts[0][-40:]!r}, and must be one and always the same; choose another word (mind"
        " the leading space)"
    )


def _added(tokenizer: Any, word: str, prompts: Sequence[str]) -> list[list[int]]:
    """What a word adds to each prompt; all of it where it changes how the prompt itself is cut up."""
    contexts = prompt_tokens(tokenizer, prompts)
    wholes = prompt_tokens(tokenizer, [prompt + word for prompt in prompts])
    return [
        whole[len(context) :] if whole[: len(context)] == context else whole
        for context, whole in zip(contexts, wholes, strict=True)
    ]
