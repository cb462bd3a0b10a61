"""Open questions, answered greedily: each alone, so that no batch can turn an answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from calbench.errors import InputError
from calbench.inference.classification import single_token
from calbench.inference.heads import vocabulary_logits
from calbench.inference.methods import device_of
from calbench.models.sources import ModelSource
from calbench.predictions import TopLabelPredictions
from calbench.tasks.generation import GenerationRequest, is_right, open_question
from calbench.tasks.items import LabelledItem

ASK_TRUE = "\nIs the proposed answer true or false?\nThe proposed answer is"
TRUE_OR_FALSE = (" true", " false")
ASK_PERCENT = "\nHow sure are you of this answer, from 0 to 100 percent?\nConfidence:"
MAX_PERCENT_TOKENS = 8


@dataclass(frozen=True)
class Generated:
    """Answers, whether they are right, and how sure the model is of each.

    Parameters
    ----------
    predictions
        One confidence per item, and whether its answer is an accepted one.
    answers
        What the model wrote, in the items' order.
    n_truncated
        How many prompts lost their beginning to fit the model.
    n_unreported
        How many self-reports held no percentage; such a confidence is 0.
    """

    predictions: TopLabelPredictions
    answers: tuple[str, ...]
    n_truncated: int
    n_unreported: int


@dataclass(frozen=True)
class _Written:
    text: str
    log_probs: list[float]
    truncated: bool


def generate(
    module: Any,
    tokenizer: Any,
    source: ModelSource,
    request: GenerationRequest,
    items: Sequence[LabelledItem],
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Generated:
    """Let a causal LM answer every item, and take its confidence.

    Parameters
    ----------
    module : torch.nn.Module
        The model, in evaluation mode.
    tokenizer
        The reference model's tokenizer, also for quantized models.
    source, request
        What the model is and how the task asks it.
    items
        :class:`calbench.tasks.generation.OpenQuestion` each.
    on_progress
        Is called with the number of items done.

    Raises
    ------
    InputError
        There are no items, or one is of another kind; for ``"p-true"``, the tokenizer has no single
        token for true or false.
    """
    import torch

    if not items:
        raise InputError("there are no items to answer")
    writer = _Writer(module, tokenizer, source)
    answers, confidences, correct = [], [], []
    n_truncated = n_unreported = 0
    with torch.inference_mode():
        for n_done, item in enumerate(items, start=1):
            prompt = request.text(item)
            written = writer.write(prompt, max_new_tokens=request.max_new_tokens, stop=request.stop)
            answers.append(written.text.strip())
            confidence = _confidence(writer, request, f"{prompt} {answers[-1]}", written)
            n_truncated += written.truncated
            n_unreported += confidence is None
            confidences.append(confidence or 0.0)
            correct.append(is_right(answers[-1], open_question(item)))
            on_progress(n_done)
    metadata = {"answers": answers, "confidence": request.confidence, "model": source.id}
    predictions = TopLabelPredictions([item.id for item in items], confidences, correct, metadata)
    return Generated(predictions, tuple(answers), n_truncated, n_unreported)


def _confidence(
    writer: _Writer, request: GenerationRequest, answered: str, written: _Written
) -> float | None:
    if request.confidence == "sequence":
        return math.exp(sum(written.log_probs) / len(written.log_probs))
    if request.confidence == "p-true":
        true, false = writer.log_probs_after(answered + ASK_TRUE, TRUE_OR_FALSE)
        return 1 / (1 + math.exp(false - true))
    reported = writer.write(answered + ASK_PERCENT, max_new_tokens=MAX_PERCENT_TOKENS, stop=("\n",))
    found = re.search(r"\d+(?:\.\d+)?", reported.text)
    return float(found[0]) / 100 if found and float(found[0]) <= 100 else None


class _Writer:
    """A model that writes greedily."""

    def __init__(self, module: Any, tokenizer: Any, source: ModelSource) -> None:
        self._body, self._logits = module.base_model, vocabulary_logits(module)
        self._device, self._tokenizer, self._source = device_of(module), tokenizer, source

    def write(self, prompt: str, *, max_new_tokens: int, stop: Sequence[str]) -> _Written:
        """Write until the end token, a stop text or the limit.

        Log-probabilities are of the tokens that add to the text; where the first one ends it, of
        that one, for an empty answer is an answer too.
        """
        from transformers import DynamicCache

        tokens, truncated = self._encoded(prompt, max_new_tokens)
        cache, new, log_probs, text = DynamicCache(), list[int](), list[float](), ""
        while len(new) < max_new_tokens:
            row = self._next(tokens if not new else new[-1:], cache)
            token = int(row.argmax())
            longer = self._tokenizer.decode([*new, token], skip_special_tokens=True)
            end = min((i for s in stop if (i := longer.find(s)) >= 0), default=-1)
            finished = token == self._tokenizer.eos_token_id or end >= 0
            kept = longer if end < 0 else longer[:end]
            if not finished or len(kept) > len(text) or not log_probs:
                log_probs.append(float(row[token]))
            text = kept
            if finished:
                break
            new.append(token)
        return _Written(text, log_probs, truncated)

    def log_probs_after(self, prompt: str, words: Sequence[str]) -> list[float]:
        """Log-probability of each word, one token each, as what comes next."""
        from transformers import DynamicCache

        row = self._next(self._encoded(prompt, 1)[0], DynamicCache())
        return [float(row[single_token(self._tokenizer, word)]) for word in words]

    def _next(self, tokens: Sequence[int], cache: Any) -> Any:
        import torch

        ids = torch.tensor([list(tokens)], device=self._device)
        hidden = self._body(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
        return self._logits(hidden[0, -1:]).float().log_softmax(dim=-1)[0]

    def _encoded(self, prompt: str, max_new_tokens: int) -> tuple[list[int], bool]:
        tokens: list[int] = self._tokenizer(prompt, truncation=False, verbose=False)["input_ids"]
        room = self._source.max_length - max_new_tokens
        if room < 1:
            raise InputError(
                f"{self._source.id} reads {self._source.max_length} tokens, which leaves no room for a"
                f" prompt before {max_new_tokens} new ones; lower max_new_tokens"
            )
        return tokens[-room:], len(tokens) > room
