"""Questions as tokens: a context once, and each option's continuation of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from calbench.errors import InputError
from calbench.inference._tokens import last_part, prompt_tokens
from calbench.tasks import ChoiceRequest, LabelledItem

ITEMS_PER_CALL = 256


@dataclass(frozen=True)
class Choices:
    """One question in tokens. Equal questions are equal: they are asked once.

    Parameters
    ----------
    context
        What comes before the answer; never empty.
    options
        What may follow it, one sequence per option, none of them empty.
    """

    context: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]


def encode_choices(
    tokenizer: Any, request: ChoiceRequest, items: Sequence[LabelledItem], *, max_length: int
) -> tuple[list[Choices], list[bool]]:
    """Tokenise questions; returns them, and for each whether its context lost its beginning.

    A context and its continuation are tokenised as one text and split where the context, alone,
    ends; spaces that end a context belong to the continuation. This is how lm-evaluation-harness
    does it (``_encode_pair``), so that log-likelihoods agree.

    Raises
    ------
    InputError
        A question is longer than the model's context and the task refuses that, or an option adds
        no token to its context.
    """
    encoded: list[Choices] = []
    cut: list[bool] = []
    for start in range(0, len(items), ITEMS_PER_CALL):
        for item, choices in _encoded(tokenizer, request, items[start : start + ITEMS_PER_CALL]):
            kept = _fitted(tokenizer, choices, request, item, max_length)
            cut.append(kept is not choices)
            encoded.append(kept)
    return encoded, cut


def _encoded(
    tokenizer: Any, request: ChoiceRequest, items: Sequence[LabelledItem]
) -> list[tuple[LabelledItem, Choices]]:
    texts: list[str] = []
    for item in items:
        full = request.text(item)
        texts += [full.rstrip(), *(full + continuation for continuation in request.continuations(item))]
    rows = iter(prompt_tokens(tokenizer, texts))
    encoded = []
    for item in items:
        context = tuple(next(rows))
        options = tuple(tuple(next(rows)[len(context) :]) for _ in request.continuations(item))
        if not request.text(item):
            context, options = _without_context(tokenizer, request.continuations(item))
        if not all(options):
            raise InputError(
                f"item {item.id!r}: an option adds no token to the prompt {request.text(item)[-40:]!r};"
                " end the prompt without the option's own characters"
            )
        encoded.append((item, Choices(context, options)))
    return encoded


def _without_context(
    tokenizer: Any, continuations: Sequence[str]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return the token that stands for no context at all, and the continuations, as the harness has them."""
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if first is None:
        raise InputError(
            "an option is asked without a context, and the tokenizer has no token that begins a text"
        )
    rows = tokenizer(list(continuations), truncation=False, verbose=False, add_special_tokens=False)[
        "input_ids"
    ]
    return (first,), tuple(tuple(row[1:] if row[0] == first else row) for row in rows)


def _fitted(
    tokenizer: Any, choices: Choices, request: ChoiceRequest, item: LabelledItem, max_length: int
) -> Choices:
    """Cut the context from the left, behind its ``bos`` if that stays, until the longest option fits."""
    # An option's last token is predicted, never read.
    n_tokens = len(choices.context) + max(map(len, choices.options)) - 1
    if n_tokens <= max_length:
        return choices
    kept = len(choices.context) - (n_tokens - max_length)
    if request.overlong == "refuse" or kept < 1:
        raise InputError(
            f"item {item.id!r} is {n_tokens} tokens long and the model's context {max_length};"
            " drop the item, shorten the prompt, or declare overlong = 'truncate'"
        )
    if not request.keeps_first_token:
        return Choices(choices.context[-kept:], choices.options)
    return Choices(tuple(last_part(tokenizer, choices.context, kept)), choices.options)


def shared_prefix(questions: Sequence[Choices]) -> tuple[int, ...]:
    """Return the tokens with which every context begins.

    At least one token of each context is left out of it: the one after which options are read.
    """
    contexts = [question.context for question in questions]
    if not contexts:
        return ()
    # What the first and the last in order share, all between them share.
    pairs = zip(min(contexts), max(contexts), strict=False)
    n_equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return contexts[0][: min(n_equal, min(map(len, contexts)) - 1)]
