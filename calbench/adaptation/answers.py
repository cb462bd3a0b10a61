"""A model's answers with their gradient: the same numbers that scoring reads, for a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calbench.errors import InputError
from calbench.inference import encode_texts
from calbench.inference.heads import vocabulary_logits
from calbench.models.sources import ModelSource
from calbench.tasks.classification import ClassificationRequest
from calbench.tasks.items import LabelledItem

if TYPE_CHECKING:
    from torch import Tensor


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
    request: ClassificationRequest

    def label_tokens(self) -> list[int]:
        """Token id of each class's label word, for a causal language model."""
        rows = self.tokenizer(list(self.request.label_words), add_special_tokens=False)["input_ids"]
        for word, row in zip(self.request.label_words, rows, strict=True):
            if len(row) != 1:
                raise InputError(f"the label word {word!r} is {len(row)} tokens, and must be one")
        return [row[0] for row in rows]

    def answers(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits over the classes ``(n, k)``; a decoder's head is applied to the last token only."""
        import torch

        if self.request.scoring == "head":
            logits: Tensor = self.module(input_ids=ids, attention_mask=mask).logits
            return logits[:, list(self.request.columns)]
        hidden = self.module.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(ids), device=ids.device), mask.sum(dim=1) - 1]
        found: Tensor = vocabulary_logits(self.module)(last)
        return found[:, self.label_tokens()]

    def vocabulary(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits over the vocabulary at every token ``(n, t, v)``."""
        if self.source.architecture != "causal-lm":
            raise InputError(
                f"{self.source.id!r} is no causal language model, so there is no sequence to distil;"
                " use level='answer'"
            )
        logits: Tensor = self.module(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits


@dataclass(frozen=True, eq=False)
class Encoded:
    """Training items as token ids, and batches of them."""

    tokens: list[list[int]]
    labels: list[int]
    pad: int

    @classmethod
    def of(cls, student: Student, items: Sequence[LabelledItem]) -> Encoded:
        """Encode items as scoring does."""
        tokens = encode_texts(student.tokenizer, student.source, student.request, items)
        return cls(tokens, [item.label for item in items], student.tokenizer.pad_token_id or 0)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return token ids and mask ``(n, t)``, padded on the right, and labels ``(n,)``."""
        import torch

        chosen = [self.tokens[row] for row in rows]
        width = max(map(len, chosen))
        ids = torch.tensor([[*row, *[self.pad] * (width - len(row))] for row in chosen])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in chosen])
        return ids, mask, torch.tensor([self.labels[row] for row in rows])
