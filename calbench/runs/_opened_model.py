"""A model that a run opened, and what quantizers may read of its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from calbench import tasks
from calbench.models import ModelSource
from calbench.quantizers import QuantizationSamples, installed_versions
from calbench.store import Store
from calbench.tasks import LabelledItem, Task

MAX_SAMPLE_TOKENS = 256


@dataclass(eq=False)
class OpenedModel:
    """A resolved model source, with what is read from it at most once."""

    model: ModelSource
    store: Store
    _samples: dict[str, QuantizationSamples] = field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> Any:
        return self.model.load_tokenizer()

    def samples(self, asked: str) -> QuantizationSamples:
        """What quantizers may read: the quantization part of the task that the model names, or is asked."""
        name = self.model.quantization_task or asked
        if name not in self._samples:
            self._samples[name] = self._samples_of(tasks.get(name))
        return self._samples[name]

    def _samples_of(self, task: Task) -> QuantizationSamples:
        texts = self._texts(task, task.partition.quantization)
        max_length = min(MAX_SAMPLE_TOKENS, self.model.max_length)
        identity = {
            "samples": texts,
            "max_length": max_length,
            "tokenizer": self.model.tokenizer_hash,
            "versions": installed_versions(("transformers", "tokenizers")),
        }

        def tokenize() -> list[list[int]]:
            return [
                list(row)
                for row in QuantizationSamples.from_texts(
                    self.tokenizer, texts, max_length=max_length
                ).token_ids
            ]

        # Kept, so that a run which loads no model need not import a tokenizer either.
        rows = self.store.remember(identity, tokenize)
        return QuantizationSamples(tuple(tuple(row) for row in rows))

    def tokens(self, task: Task, n_texts: int) -> list[list[int]]:
        """Tokens of a task's first quantization samples, as the model would be shown them.

        A task without such samples gives its first evaluation items: a quantizer reads none of these.
        """
        items = (task.partition.quantization or task.partition.evaluation)[:n_texts]
        rows: list[list[int]] = self.tokenizer(
            self._texts(task, items), truncation=True, max_length=self.model.max_length
        )["input_ids"]
        return rows

    def _texts(self, task: Task, items: Sequence[LabelledItem]) -> list[str]:
        request = task.request(self.model)
        return [request.sample(item) for item in items]
