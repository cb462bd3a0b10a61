"""Texts that a model's own head classifies, or that a causal LM completes with a label word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from calbench.errors import InputError
from calbench.inference._heads import check_agreement, check_head, vocabulary_logits
from calbench.inference._methods import at_last_token, check_length, device_of, padded
from calbench.models import ModelSource
from calbench.records import Float32
from calbench.tasks import ClassificationRequest, LabelledItem

TOKENS_PER_BATCH = 512


class EncodedText(NamedTuple):
    """A text's tokens and, of a pair, which of its texts each is of, where the model tells them apart."""

    tokens: tuple[int, ...]
    segments: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class TextMethod:
    """Reads one row of numbers per text; see :class:`calbench.inference._methods.Method`."""

    inputs: list[EncodedText]
    lengths: list[int]
    width: int
    budget: int
    n_truncated: int
    engine: str
    pad: int
    device: Any
    values: Callable[..., Any]
    packs: bool = False

    def read(self, rows: Sequence[int]) -> Float32:
        """Ask one batch."""
        ids, mask = padded([self.inputs[row].tokens for row in rows], self.pad, self.device)
        more = {}
        if any(self.inputs[row].segments for row in rows):
            segments = padded([self.inputs[row].segments for row in rows], 0, self.device)[0]
            more = {"token_type_ids": segments}
        logits: Float32 = self.values(ids, mask, **more).float().cpu().numpy()
        return logits


def text_method(
    module: Any,
    tokenizer: Any,
    source: ModelSource,
    request: ClassificationRequest,
    items: Sequence[LabelledItem],
) -> TextMethod:
    """Prepare texts.

    Raises
    ------
    InputError
        A label word is not one token of its own, or a head needs a padding token and there is none.
    """
    inputs, n_truncated = encode(tokenizer, source, request, items)
    lengths = [len(text.tokens) for text in inputs]
    check_length(module, source, max(lengths))
    pad = padding_token(module, tokenizer, source, request)
    if request.scoring == "head":
        values, width = _head_values(module, request), len(request.columns)
    else:
        words = single_tokens(tokenizer, request.label_words)
        values, width = _word_values(module, words), len(words)
    return TextMethod(
        inputs,
        lengths,
        width,
        TOKENS_PER_BATCH,
        n_truncated,
        request.scoring,
        pad,
        device_of(module),
        values,
    )


def padding_token(module: Any, tokenizer: Any, source: ModelSource, request: ClassificationRequest) -> int:
    """Return the token to pad with: for a head that of the model's configuration.

    A decoder's head reads the last token that is not that one, whatever the mask says. Where the
    configuration of the model names none, or one outside its vocabulary, it is given the tokenizer's.

    Raises
    ------
    InputError
        Neither the configuration nor the tokenizer names one, and the head needs it.
    """
    pad: int | None = tokenizer.pad_token_id
    if request.scoring != "head":
        return pad or 0  # masked, and never read
    config = module.config.get_text_config()
    known: int | None = config.pad_token_id
    if known is not None and 0 <= known < len(module.get_input_embeddings().weight):
        return known
    if pad is None:
        raise InputError(
            f"neither the configuration nor the tokenizer of {source.id} names a padding token, which its"
            " head looks for; set pad_token_id in the model's config.json"
        )
    config.pad_token_id = pad
    return pad


def encode(
    tokenizer: Any, source: ModelSource, request: ClassificationRequest, items: Sequence[LabelledItem]
) -> tuple[list[EncodedText], int]:
    """Return each text's tokens, cut to the model's length, and how many were cut.

    Of a pair that a head is shown the longer text is cut, from its end.
    """
    texts = [request.text(item) for item in items]
    pairs = [request.second(item) for item in items]
    if not any(pairs):
        lists: list[list[int]] = tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        cut = sum(len(tokens) > source.max_length for tokens in lists)
        return [EncodedText(tuple(_cut(tokens, source))) for tokens in lists], cut
    whole = tokenizer(texts, pairs, truncation=False, verbose=False)["input_ids"]
    made = tokenizer(texts, pairs, truncation="longest_first", max_length=source.max_length)
    segments = made.get("token_type_ids") or [()] * len(texts)
    rows = zip(made["input_ids"], segments, strict=True)
    return [EncodedText(tuple(ids), tuple(of)) for ids, of in rows], sum(
        len(tokens) > source.max_length for tokens in whole
    )


def _cut(tokens: list[int], source: ModelSource) -> list[int]:
    """Keep an encoder's closing token, and the end of a prompt, which asks the question."""
    if len(tokens) <= source.max_length:
        return tokens
    if source.architecture == "causal-lm":
        return tokens[-source.max_length :]
    return [*tokens[: source.max_length - 1], tokens[-1]]


def _head_values(module: Any, request: ClassificationRequest) -> Callable[..., Any]:
    columns = list(request.columns)

    def values(ids: Any, mask: Any, **segments: Any) -> Any:
        return module(input_ids=ids, attention_mask=mask, **segments).logits[:, columns]

    return values


def _word_values(module: Any, words: list[int]) -> Callable[[Any, Any], Any]:
    body, head = module.base_model, vocabulary_logits(module)
    checked = False

    def values(ids: Any, mask: Any) -> Any:
        nonlocal checked
        hidden = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        logits = head(at_last_token(hidden, mask))[:, words]
        if not checked:
            n_tokens = int(mask[-1].sum())
            check_head(module, head, ids[-1, :n_tokens].tolist())
            alone = module(
                input_ids=ids[-1:, :n_tokens], attention_mask=mask[-1:, :n_tokens], use_cache=False
            ).logits[0, -1]
            check_agreement(module, logits[-1], alone[words], largest=float(alone.abs().max()))
            checked = True
        return logits

    return values


def single_tokens(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """Return each word's one token; raises :class:`InputError` if it is several, unknown or shared."""
    tokens = [_single_token(tokenizer, word) for word in words]
    for i, token in enumerate(tokens):
        if (first := tokens.index(token)) < i:
            raise InputError(
                f"the label words {words[first]!r} and {words[i]!r} are one and the same token in this"
                " model's vocabulary; choose another word"
            )
    return tokens


def _single_token(tokenizer: Any, word: str) -> int:
    tokens = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(tokens) != 1:
        raise InputError(
            f"the label word {word!r} is {len(tokens)} tokens in this model's vocabulary, and must be one;"
            " choose another word (mind the leading space)"
        )
    if tokens[0] == tokenizer.unk_token_id:
        raise InputError(f"the label word {word!r} is not in this model's vocabulary; choose another word")
    return int(tokens[0])
