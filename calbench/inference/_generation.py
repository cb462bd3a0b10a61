"""Open questions, answered greedily: each alone, so that no batch can turn an answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from calbench.errors import InputError
from calbench.inference._agreement import agree, check_causal, forward_options
from calbench.inference._heads import head_stands_alone, vocabulary_logits
from calbench.inference._methods import check_length, device_of, turns_positions
from calbench.inference._shards import NoShards, Shards, plan_hash
from calbench.inference._tokens import last_part, prompt_tokens, single_tokens
from calbench.models import ModelSource
from calbench.records import TopLabelPredictions
from calbench.tasks import GenerationRequest, LabelledItem, OpenQuestion, open_question

ASK_TRUE = "\nIs the proposed answer true or false?\nThe proposed answer is"
TRUE_OR_FALSE = (" true", " false")
ASK_PERCENT = "\nHow sure are you of this answer, from 0 to 100 percent?\nConfidence:"
MAX_PERCENT_TOKENS = 8
ITEMS_PER_SHARD = 16
ENGINE = "greedy, one question at a time"

# As a finished shard keeps it: the answer, its confidence (None if the model named none), and whether
# the prompt was cut.
_Row = tuple[str, float | None, bool]


@dataclass(frozen=True)
class Generated:
    """Answers, whether they are right, and how sure the model is of each.

    Parameters
    ----------
    predictions
        One confidence per item, and whether its answer is an accepted one. The metadata keep each
        item's answer by its id.
    answers
        What the model wrote, in the items' order.
    n_truncated
        How many prompts lost their beginning to fit the model.
    n_unreported
        How many self-reports held no percentage; such a confidence is 0.
    n_shards, n_reused
        Parts of the run, and how many of them an earlier run had finished.
    """

    predictions: TopLabelPredictions
    answers: tuple[str, ...]
    n_truncated: int
    n_unreported: int
    n_shards: int = 0
    n_reused: int = 0


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
    shards: Shards | None = None,
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
        :class:`calbench.tasks._generation.OpenQuestion` each.
    shards
        Where finished parts are kept and found.
    on_progress
        Is called with the number of items done.

    Raises
    ------
    InputError
        There are no items, one is of another kind, or the model answers with NaN or is
        not causal; for ``"p-true"``, the tokenizer has no single token for true or false.
    """
    import torch

    if not items:
        raise InputError("there are no items to answer")
    questions = [open_question(item) for item in items]
    keeper = shards or NoShards()
    writer = _Writer(module, tokenizer, source)
    rows: list[_Row] = []
    n_reused = 0
    parts = [questions[start : start + ITEMS_PER_SHARD] for start in range(0, len(items), ITEMS_PER_SHARD)]
    with torch.inference_mode():
        for index, part in enumerate(parts):
            name = f"{index:05}-{plan_hash([[question.id for question in part]])}"
            finished = keeper.get_rows(name)
            n_reused += finished is not None
            if finished is None:
                finished = []
                for row in _answered(writer, request, part):
                    finished.append(row)
                    on_progress(len(rows) + len(finished))
                keeper.put_rows(name, finished)
            rows += finished
            on_progress(len(rows))
    answers, confidences, cut = zip(*rows, strict=True)
    predictions = TopLabelPredictions(
        [question.id for question in questions],
        [confidence or 0.0 for confidence in confidences],
        [request.judge(answer, question) for answer, question in zip(answers, questions, strict=True)],
        {
            "model": source.id,
            "confidence": request.confidence,
            "answers": {question.id: answer for answer, question in zip(answers, questions, strict=True)},
        },
    )
    return Generated(predictions, answers, sum(cut), confidences.count(None), len(parts), n_reused)


def _answered(
    writer: _Writer, request: GenerationRequest, questions: Sequence[OpenQuestion]
) -> Iterator[_Row]:
    for question in questions:
        prompt = request.text(question)
        written = writer.write(prompt, max_new_tokens=request.max_new_tokens, stop=request.stop)
        answer = request.answer(written.text)
        yield answer, _confidence(writer, request, f"{prompt} {answer}", written), written.truncated


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
        self._module, self._device = module, device_of(module)
        self._tokenizer, self._source = tokenizer, source
        self._ends = _end_tokens(module, tokenizer, source)
        self._options = forward_options(module)
        self._body, self._logits = module.base_model, vocabulary_logits(module)
        taken = signature(self._body.forward).parameters
        self._takes_positions = "position_ids" in taken
        # Some, such as Mamba, would silently forget what came before; others show with the first prompt.
        self._takes_cache: bool | None = None if "past_key_values" in taken else False

    def write(self, prompt: str, *, max_new_tokens: int, stop: Sequence[str]) -> _Written:
        """Write until an end token, a stop text or the limit.

        Log-probabilities are of the tokens that add to the text; where the first one ends it, of
        that one, for an empty answer is an answer too.
        """
        tokens, truncated = self._encoded(prompt, max_new_tokens)
        self._settle(tokens)
        cache, new, log_probs, text = self._cache(len(tokens), max_new_tokens), list[int](), list[float](), ""
        while len(new) < max_new_tokens:
            row = self._next(new[-1:] if new and cache is not None else [*tokens, *new], cache)
            token = int(row.argmax())
            ends = token in self._ends
            # Not every tokenizer knows that an end token is a special one.
            longer = text if ends else self._tokenizer.decode([*new, token], skip_special_tokens=True)
            end = min((i for s in stop if (i := longer.find(s)) >= 0), default=-1)
            finished = ends or end >= 0
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
        tokens = self._encoded(prompt, 1)[0]
        self._settle(tokens)
        row = self._next(tokens, self._cache(len(tokens), 1))
        return [float(row[token]) for token in single_tokens(self._tokenizer, words, [prompt])]

    def _cache(self, n_tokens: int, n_new: int) -> Any:
        """An empty cache, or None where what it keeps of a prompt would not do for all of the answer."""
        from transformers import DynamicCache

        if self._takes_cache is False or turns_positions(self._module, n_tokens, n_tokens + n_new):
            return None
        # Without the configuration every layer is taken for an attention layer.
        return DynamicCache(config=self._module.config)

    def _positions(self, n_new: int, cache: Any) -> Any:
        """Positions of the next tokens; some models (Bamba, Zamba2) count from 0 at every call."""
        import torch

        n_seen = cache.get_seq_length()
        return torch.arange(n_seen, n_seen + n_new, device=self._device)[None]

    def _settle(self, tokens: Sequence[int]) -> None:
        """Find out, once, whether going on from a cache says what the model says to the whole text."""
        if self._takes_cache is not None:
            return
        check_causal(self._module, tokens, self._device)
        if not head_stands_alone(self._module, tokens):
            self._takes_cache = False
            return
        try:
            cache, at = self._cache(len(tokens) // 2, len(tokens)), len(tokens) // 2
            if at:
                self._cached(tokens[:at], cache)
            found = self._cached(tokens[at:], cache)
            self._takes_cache = agree(self._module, found, self._whole(tokens))
        except Exception:  # noqa: BLE001 (an architecture whose body or cache differs is asked as a whole)
            self._takes_cache = False

    def _next(self, tokens: Sequence[int], cache: Any) -> Any:
        logits = self._whole(tokens) if cache is None else self._cached(tokens, cache)
        row = logits.float().log_softmax(dim=-1)
        if row.isnan().any():
            raise InputError(
                f"{self._source.id} answered with NaN or infinite logits; is its compute dtype too narrow?"
            )
        return row

    def _whole(self, tokens: Sequence[int]) -> Any:
        return self._module(input_ids=self._ids(tokens), **self._options).logits[0, -1]

    def _cached(self, tokens: Sequence[int], cache: Any) -> Any:
        given: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if self._takes_positions:
            given["position_ids"] = self._positions(len(tokens), cache)
        hidden = self._body(input_ids=self._ids(tokens), **given).last_hidden_state
        return self._logits(hidden[0, -1:])[0]

    def _ids(self, tokens: Sequence[int]) -> Any:
        import torch

        return torch.tensor([list(tokens)], device=self._device)

    def _encoded(self, prompt: str, max_new_tokens: int) -> tuple[list[int], bool]:
        (tokens,) = prompt_tokens(self._tokenizer, [prompt])
        room = self._source.max_length - max_new_tokens
        if room < 1:
            raise InputError(
                f"{self._source.id} reads {self._source.max_length} tokens, which leaves no room for a"
                f" prompt before {max_new_tokens} new ones; lower max_new_tokens"
            )
        check_length(self._module, self._source, min(len(tokens), room) + max_new_tokens)
        return last_part(self._tokenizer, tokens, room), len(tokens) > room


def _end_tokens(module: Any, tokenizer: Any, source: ModelSource) -> frozenset[int]:
    """Return all that end an answer: chat models end a turn with another token than a text."""
    own = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    named = own if isinstance(own, list) else [own]
    return frozenset({*source.end_tokens, *named, tokenizer.eos_token_id} - {None})
