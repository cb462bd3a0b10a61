"""A model's answers with their gradient: the same numbers that scoring reads, for a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from calbench.errors import InputError
from calbench.inference import (
    Choices,
    Way,
    at_last_token,
    device_of,
    divisors,
    encode_choices,
    encode_texts,
    label_tokens,
    option_log_probs,
    padded,
    padding_token,
    vocabulary_logits,
    ways_of,
)
from calbench.models import ModelSource
from calbench.tasks import ChoiceRequest, ClassificationRequest, LabelledItem

if TYPE_CHECKING:
    from torch import Tensor

Request = ClassificationRequest | ChoiceRequest


@dataclass(frozen=True, eq=False)
class Student:
    """A loaded model and how a task asks it.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    tokenizer
        The reference model's tokenizer.
    source, request
        What the model is and how it is asked.
    """

    module: Any
    tokenizer: Any
    source: ModelSource
    request: Request


class Encoded(Protocol):
    """Training items in tokens."""

    def answers(self, student: Student, rows: Sequence[int]) -> Tensor:
        """Return logits over the classes ``(len(rows), k)``, with their gradient."""
        ...

    def sequence(self, student: Student, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return logits over the vocabulary at every token ``(n, t, v)``, and the mask ``(n, t)``."""
        ...

    def label_words(self, rows: Sequence[int]) -> Tensor:
        """Return the token id of each row's right label word ``(n,)``, on the CPU."""
        ...


def encode(student: Student, items: Sequence[LabelledItem]) -> Encoded:
    """Encode items as scoring does."""
    request, tokenizer, source = student.request, student.tokenizer, student.source
    if isinstance(request, ChoiceRequest):
        questions, _ = encode_choices(tokenizer, request, items, max_length=source.max_length)
        lengths = divisors(request, items, questions)
        return EncodedQuestions(questions, lengths, ways_of(student.module, questions)[0])
    words = label_tokens(tokenizer, request, items)
    texts = encode_texts(tokenizer, source, request, items)
    pad = padding_token(student.module, tokenizer, request, texts)
    return EncodedTexts(texts, [item.label for item in items], words, pad)


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """Texts that a head answers, or label words after a prompt.

    Parameters
    ----------
    tokens, labels
        Of each item.
    words
        Token id of each class's label word; empty for a head.
    pad
        Token id to pad with, on the right.
    """

    tokens: list[list[int]]
    labels: list[int]
    words: list[int]
    pad: int

    def answers(self, student: Student, rows: Sequence[int]) -> Tensor:
        """See :class:`Encoded`; a decoder's head is applied to the last token only."""
        request = student.request
        ids, mask = self._batch(student, rows)
        if isinstance(request, ClassificationRequest) and request.scoring == "head":
            logits: Tensor = student.module(input_ids=ids, attention_mask=mask).logits
            answers: Tensor = request.answers(logits)
            return answers
        hidden = _hidden(student, ids, mask)
        found: Tensor = vocabulary_logits(student.module)(at_last_token(hidden, mask))
        return found[:, self.words]

    def sequence(self, student: Student, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See :class:`Encoded`.

        Raises
        ------
        InputError
            The model is no causal language model.
        """
        if not self.words:
            raise InputError(
                f"{student.source.id!r} is no causal language model, so there is no sequence to distil;"
                " use level='answer'"
            )
        ids, mask = self._batch(student, rows)
        return student.module(input_ids=ids, attention_mask=mask, use_cache=False).logits, mask

    def label_words(self, rows: Sequence[int]) -> Tensor:
        """See :class:`Encoded`."""
        import torch

        return torch.tensor([self.words[self.labels[row]] for row in rows], device="cpu")

    def _batch(self, student: Student, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return padded([self.tokens[row] for row in rows], self.pad, device_of(student.module))


@dataclass(frozen=True, eq=False)
class EncodedQuestions:
    """Questions whose options are ranked by their log-likelihoods.

    Parameters
    ----------
    questions
        In tokens.
    lengths
        What each option's log-likelihood is divided by.
    way
        How the model is read, as in scoring.
    """

    questions: list[Choices]
    lengths: list[tuple[int, ...]]
    way: Way

    def answers(self, student: Student, rows: Sequence[int]) -> Tensor:
        """See :class:`Encoded`; where an item has fewer options the rest is ``-inf``."""
        import torch

        questions = [self.questions[row] for row in rows]
        found = option_log_probs(student.module, questions, way=self.way)
        device = found.device
        options = [(i, o) for i, question in enumerate(questions) for o in range(len(question.options))]
        owners = [owner for owner, (i, o) in enumerate(options) for _ in questions[i].options[o]]
        sums = torch.zeros(len(options), device=device)
        sums = sums.index_add(0, torch.tensor(owners, device=device), found)
        lengths = torch.tensor([self.lengths[rows[i]][o] for i, o in options], device=device)
        places = tuple(torch.tensor(options, device=device).T)
        width = max(len(question.options) for question in self.questions)
        blank = torch.full((len(rows), width), -torch.inf, device=device)
        return blank.index_put(places, sums / lengths)

    def sequence(self, student: Student, rows: Sequence[int]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Refuse: a question has as many sequences as options."""
        raise InputError(
            "questions with options are distilled on the distribution over their options; use level='answer'"
        )

    def label_words(self, rows: Sequence[int]) -> Tensor:  # noqa: ARG002
        """Refuse: see :meth:`sequence`."""
        raise InputError("questions with options have no label words; use level='answer'")


def _hidden(student: Student, ids: Tensor, mask: Tensor) -> Tensor:
    body = student.module.base_model
    hidden: Tensor = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden
