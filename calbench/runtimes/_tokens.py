"""Items as tokens, for servers that are told tokens: label words and options, each a continuation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from calbench.errors import InputError
from calbench.inference import Choices, Request, divisors, encode_choices, encode_texts, single_tokens
from calbench.models import ModelSource
from calbench.runtimes._protocol import Prepared, TokenServer
from calbench.tasks import ChoiceRequest, LabelledItem

Row = tuple[Choices, tuple[int, ...]]


def prepare_tokens(
    server: TokenServer,
    tokenizer: Any,
    source: ModelSource,
    request: Request,
    items: Sequence[LabelledItem],
    *,
    max_length: int,
) -> Prepared:
    """Tokenise items as the torch runtime does.

    An option's log-probability is the sum over its tokens, divided as the task's rule says. The numbers of
    label words are log-probabilities, which differ from logits by one number an item.

    Raises
    ------
    InputError
        A label word is not one token, or an item is too long and the task refuses that.
    """
    if isinstance(request, ChoiceRequest):
        questions, cut = encode_choices(tokenizer, request, items, max_length=max_length)
        rows = list(zip(questions, divisors(request, items, questions), strict=True))
        n_truncated = sum(cut)
    elif request.scoring == "label-words":
        words = tuple((token,) for token in single_tokens(tokenizer, request.label_words))
        texts = encode_texts(tokenizer, source, request, items)
        rows = [(Choices(tuple(text), words), (1,) * len(words)) for text in texts]
        n_truncated = sum(len(text) >= source.max_length for text in texts)
    else:
        raise InputError(f"{source.id} is asked for the log-probabilities of words; it has no head to read")
    return Prepared(
        rows,
        [sum(len(q.context) + len(option) for option in q.options) for q, _ in rows],
        [len(q.options) for q, _ in rows],
        max(len(q.options) for q, _ in rows),
        _asker(server),
        n_truncated,
        f"{server.name}, one request an option",
    )


def _asker(server: TokenServer) -> Callable[[Row], list[float]]:
    def ask(row: Row) -> list[float]:
        question, lengths = row
        return [
            sum(server.log_probs(question.context, option)) / length
            for option, length in zip(question.options, lengths, strict=True)
        ]

    return ask
