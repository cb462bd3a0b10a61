"""A loaded model and labelled items give logits; only what is read is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from calbench.errors import InputError
from calbench.models.sources import ModelSource
from calbench.predictions import Float32
from calbench.tasks.classification import ClassificationRequest
from calbench.tasks.items import Item

TOKENS_PER_BATCH = 512
MAX_ROWS = 64


@dataclass(frozen=True)
class Scored:
    """Logits ``(n_items, n_classes)`` in the items' order, and how many inputs were cut to fit."""

    logits: Float32
    n_truncated: int


class _Encoded(NamedTuple):
    row: int
    tokens: list[int]


def score(
    module: Any,
    tokenizer: Any,
    source: ModelSource,
    request: ClassificationRequest,
    items: Sequence[Item],
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Scored:
    """Ask the model about every item.

    Inputs are sorted by length and batched under a token budget, so little of a batch is padding.
    The same items give the same batches, whatever order they come in.

    Parameters
    ----------
    module : torch.nn.Module
        The model, in evaluation mode.
    tokenizer
        The reference model's tokenizer, also for quantized models.
    source, request
        What the model is and how the task asks it.
    items
        What to score.
    on_progress
        Is called with the number of items done after each batch.

    Raises
    ------
    InputError
        A label word is not one token, or the model answers with NaN.
    """
    import torch

    encoded, n_truncated = _encode(tokenizer, source, request, items)
    read = _reader(module, tokenizer, request)
    pad = tokenizer.pad_token_id
    if pad is None:
        if request.scoring == "head":
            raise InputError(f"the tokenizer of {source.id} has no padding token, which its head looks for")
        pad = 0  # masked, and never read
    device = next(module.parameters()).device
    logits: Float32 | None = None
    n_done = 0
    with torch.inference_mode():
        for batch in batches(encoded):
            width = len(batch[0].tokens)
            ids = torch.full((len(batch), width), pad, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for i, (_, tokens) in enumerate(batch):
                ids[i, : len(tokens)] = torch.tensor(tokens)
                mask[i, : len(tokens)] = 1
            values = read(ids.to(device), mask.to(device)).float().cpu().numpy()
            if logits is None:
                logits = np.empty((len(items), values.shape[1]), dtype=np.float32)
            logits[[row for row, _ in batch]] = values
            n_done += len(batch)
            on_progress(n_done)
    assert logits is not None  # noqa: S101 (items are never empty: a dataset refuses that)
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        raise InputError(
            f"{source.id} answered {int(bad.sum())} of {len(items)} items with NaN or infinite logits,"
            f" {items[int(np.argmax(bad))].id!r} first; is its compute dtype too narrow?"
        )
    return Scored(logits, n_truncated)


def encode_texts(
    tokenizer: Any, source: ModelSource, request: ClassificationRequest, items: Sequence[Item]
) -> list[list[int]]:
    """Return each item's model input as token ids, cut to the model's length."""
    encoded, _ = _encode(tokenizer, source, request, items)
    return [entry.tokens for entry in sorted(encoded)]


def batches(encoded: Sequence[_Encoded]) -> Iterator[list[_Encoded]]:
    """Yield batches of similar length, longest first, within the token budget."""
    batch: list[_Encoded] = []
    for entry in encoded:
        if batch and (len(batch) == MAX_ROWS or (len(batch) + 1) * len(batch[0].tokens) > TOKENS_PER_BATCH):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


def _encode(
    tokenizer: Any, source: ModelSource, request: ClassificationRequest, items: Sequence[Item]
) -> tuple[list[_Encoded], int]:
    texts = [request.text(item) for item in items]
    lists: list[list[int]] = tokenizer(texts, truncation=False, verbose=False)["input_ids"]
    too_long = sum(len(tokens) > source.max_length for tokens in lists)
    if too_long:
        # An encoder keeps its closing token; a prompt keeps its end, which asks the question.
        lists = [_cut(tokens, source) for tokens in lists]
    encoded = [_Encoded(row, tokens) for row, tokens in enumerate(lists)]
    return sorted(encoded, key=lambda e: (-len(e.tokens), items[e.row].id)), too_long


def _cut(tokens: list[int], source: ModelSource) -> list[int]:
    if len(tokens) <= source.max_length:
        return tokens
    if source.architecture == "causal-lm":
        return tokens[-source.max_length :]
    return [*tokens[: source.max_length - 1], tokens[-1]]


def _reader(module: Any, tokenizer: Any, request: ClassificationRequest) -> Callable[..., Any]:
    import torch

    if request.scoring == "head":
        columns = list(request.columns)

        def read_head(ids: Any, mask: Any) -> Any:
            return module(input_ids=ids, attention_mask=mask).logits[:, columns]

        return read_head

    words = [_single_token(tokenizer, word) for word in request.label_words]
    body, head = module.base_model, module.get_output_embeddings()

    checked = False

    def read_label_words(ids: Any, mask: Any) -> Any:
        nonlocal checked
        hidden = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(ids), device=ids.device), mask.sum(dim=1) - 1]
        logits = head(last)[:, words]
        if not checked:
            _check_head(module, ids[-1:], mask[-1:], words, logits[-1])
            checked = True
        return logits

    return read_label_words


def _check_head(module: Any, ids: Any, mask: Any, words: list[int], found: Any) -> None:
    """Compare one item with the model's own forward pass, which may do more after the head."""
    n_tokens = int(mask.sum())
    whole = module(input_ids=ids[:, :n_tokens], attention_mask=mask[:, :n_tokens], use_cache=False)
    own = whole.logits[0, -1, words]
    if float((own - found).abs().max()) > 0.05 * max(1.0, float(own.abs().max())):
        raise InputError(
            f"{type(module).__name__} changes its logits after the head (it says {own.tolist()}, the head"
            f" {found.tolist()}); calbench cannot read label words from such a model yet"
        )


def _single_token(tokenizer: Any, word: str) -> int:
    tokens = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(tokens) != 1:
        raise InputError(
            f"the label word {word!r} is {len(tokens)} tokens in this model's vocabulary, and must be one;"
            " choose another word (mind the leading space)"
        )
    return int(tokens[0])
