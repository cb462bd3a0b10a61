"""Items as tokens, for servers that are told tokens: label words and options, each a continuation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from calbench.errors import InputError, UnanswerableError
from calbench.inference import Choices, Request, divisors, encode, encode_choices, label_tokens
from calbench.models import ModelSource
from calbench.runtimes._protocol import Prepared, TokenServer
from calbench.tasks import ChoiceRequest, DecisionRequest, HarnessRequest, LabelledItem

Row = tuple[Choices, tuple[int, ...]]


@dataclass(frozen=True)
class Tokenised:
    """Items as tokens.

    Attributes
    ----------
    rows
        Of each item its context, its continuations, and what their log-probabilities are divided by.
    n_truncated
        How many contexts were cut to fit the model.
    """

    rows: Sequence[Row]
    n_truncated: int

    @classmethod
    def of(
        cls, tokenizer: Any, source: ModelSource, request: Request, items: Sequence[LabelledItem]
    ) -> Tokenised:
        """Tokenise as the torch runtime does.

        Raises
        ------
        InputError
            A label word is not one token, or an item is too long and the task refuses that.
        UnanswerableError
            The requests are those of lm-evaluation-harness.
        """
        if isinstance(request, DecisionRequest):
            raise UnanswerableError(
                f"typed questions are asked of a decision server; write {source.id}'s address with"
                " /v1/systemone at its end"
            )
        if isinstance(request, HarnessRequest):
            raise UnanswerableError(
                f"{source.id} is asked by a server here, and requests of lm-evaluation-harness only by torch;"
                " choose one of calbench's own tasks, or the model's weights"
            )
        if isinstance(request, ChoiceRequest):
            questions, cut = encode_choices(tokenizer, request, items, max_length=source.max_length)
            return cls(list(zip(questions, divisors(request, items, questions), strict=True)), sum(cut))
        if request.scoring != "label-words":
            raise InputError(
                f"{source.id} is asked for the log-probabilities of words: it has no head to read"
            )
        words = tuple((token,) for token in label_tokens(tokenizer, request, items))
        texts, n_truncated = encode(tokenizer, source, request, items)
        return cls([(Choices(text.tokens, words), (1,) * len(words)) for text in texts], n_truncated)

    @property
    def longest(self) -> int:
        """Tokens of the longest context with its longest continuation."""
        return max(len(q.context) + max(map(len, q.options)) for q, _ in self.rows)

    def prepared(self, server: TokenServer) -> Prepared:
        """Return the items ready to be asked.

        An option's number is the sum of its tokens' log-probabilities, divided as the task's rule says.
        Those of label words differ from logits by one number an item.
        """
        return Prepared(
            self.rows,
            [sum(len(q.context) + len(option) for option in q.options) for q, _ in self.rows],
            [len(q.options) for q, _ in self.rows],
            max(len(q.options) for q, _ in self.rows),
            _asker(server),
            self.n_truncated,
            f"{server.name}, one request an option",
        )


def count_requests(
    tokenizer: Any, source: ModelSource, request: Request, items: Sequence[LabelledItem]
) -> tuple[int, int]:
    """Return how many requests and prompt tokens asking different items for tokens takes."""
    rows = dict.fromkeys(Tokenised.of(tokenizer, source, request, items).rows)
    n_tokens = sum(len(q.context) + len(option) for q, _ in rows for option in q.options)
    return sum(len(q.options) for q, _ in rows), n_tokens


def _asker(server: TokenServer) -> Callable[[Row], list[float]]:
    def ask(row: Row) -> list[float]:
        question, lengths = row
        return [
            sum(server.log_probs(question.context, option)) / length
            for option, length in zip(question.options, lengths, strict=True)
        ]

    return ask
