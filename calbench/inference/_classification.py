"""Texts that a model's own head classifies, or that a causal LM completes with a label word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from calbench.errors import InputError
from calbench.inference._agreement import Way, check_causal, forward_options, groups, settle
from calbench.inference._heads import head_stands_alone, vocabulary_logits
from calbench.inference._methods import (
    at_last_token,
    check_length,
    check_tokens,
    device_of,
    n_known_tokens,
    padded,
)
from calbench.inference._tokens import Text, encode, label_tokens
from calbench.models import ModelSource
from calbench.records import Float32
from calbench.tasks import ClassificationRequest, LabelledItem

TOKENS_PER_BATCH = 512

# From token ids, a mask and, where there are segments, those, to one row of numbers per text.
Values = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, eq=False)
class TextMethod:
    """Reads one row of numbers per text; see :class:`calbench.inference._methods.Method`."""

    inputs: list[Text]
    lengths: list[int]
    width: int
    budget: int
    n_truncated: int
    engine: str
    read_texts: Callable[[Sequence[Text]], Any]
    packs: bool = False

    def read(self, rows: Sequence[int]) -> Float32:
        """Ask one batch."""
        logits: Float32 = self.read_texts([self.inputs[row] for row in rows]).float().cpu().numpy()
        return logits


def text_method(
    module: Any,
    tokenizer: Any,
    source: ModelSource,
    request: ClassificationRequest,
    items: Sequence[LabelledItem],
) -> TextMethod:
    """Prepare texts, and find the fastest way that reads each as the model does alone.

    Raises
    ------
    InputError
        A label word is not one token of its own, the model is not causal, or it draws at random.
    """
    inputs, n_truncated = encode(tokenizer, source, request, items)
    _check_any_tokens(inputs, items)
    check_length(module, source, max(map(len, inputs)))
    check_tokens(module, source, max(max(text.tokens, default=0) for text in inputs))
    probe = _probe(inputs)
    if request.scoring == "head":
        way, read = _head_reader(module, tokenizer, request, inputs, probe)
        width = max(2, len(request.columns))
    else:
        words = label_tokens(tokenizer, request, items)
        way, read, width = *_word_reader(module, words, probe), len(words)
    engine = request.scoring if way.name == "padded" else f"{request.scoring}, {way.name}"
    return TextMethod(inputs, list(map(len, inputs)), width, TOKENS_PER_BATCH, n_truncated, engine, read)


def _check_any_tokens(inputs: Sequence[Text], items: Sequence[LabelledItem]) -> None:
    for text, item in zip(inputs, items, strict=True):
        if not text.tokens:
            raise InputError(
                f"item {item.id!r} has no text: the tokenizer makes no token of it; drop the item"
            )


def _probe(inputs: Sequence[Text]) -> list[Text]:
    """A short, a middling and a long text: together they pad."""
    ordered = sorted(set(inputs), key=lambda text: (len(text), text.tokens))
    return list(dict.fromkeys((ordered[-1], ordered[len(ordered) // 2], ordered[0])))


def _head_reader(
    module: Any, tokenizer: Any, request: ClassificationRequest, inputs: Sequence[Text], probe: list[Text]
) -> tuple[Way, Callable[[Sequence[Text]], Any]]:
    options = forward_options(module)
    pad = padding_token(module, tokenizer, request, [text.tokens for text in inputs])

    def values(given: dict[str, Any]) -> Any:
        return request.answers(module(**given, **options).logits)

    ways = (
        Way("padded", own=True),
        Way("equal lengths", own=True, grouping="equal lengths"),
        Way("one by one", own=True, grouping="one by one"),
    )
    return _settled(module, "head", ways, lambda _: values, values, probe, pad)


def _word_reader(
    module: Any, words: list[int], probe: list[Text]
) -> tuple[Way, Callable[[Sequence[Text]], Any]]:
    options = forward_options(module)

    def own(given: dict[str, Any]) -> Any:
        logits = module(**given, **options).logits
        return at_last_token(logits, given["attention_mask"])[:, words]

    def by_head(given: dict[str, Any]) -> Any:
        hidden = module.base_model(**given, use_cache=False).last_hidden_state
        return head(at_last_token(hidden, given["attention_mask"]))[:, words]

    ways: tuple[Way, ...] = (
        Way("padded", own=False),
        Way("the model's own logits", own=True),
        Way("equal lengths", own=True, grouping="equal lengths"),
        Way("one by one", own=True, grouping="one by one"),
    )
    if head_stands_alone(module, probe[0].tokens):
        head = vocabulary_logits(module)
    else:
        ways = ways[1:]
    check_causal(module, probe[0].tokens, device_of(module))
    return _settled(module, "label-words", ways, lambda way: own if way.own else by_head, own, probe, 0)


def _settled(
    module: Any,
    kind: str,
    ways: Sequence[Way],
    values: Callable[[Way], Values],
    own: Values,
    probe: list[Text],
    pad: int,
) -> tuple[Way, Callable[[Sequence[Text]], Any]]:
    import torch

    def alone() -> Any:
        return torch.cat([own(_given(module, [text], pad)) for text in probe])

    def reader(way: Way) -> Callable[[Sequence[Text]], Any]:
        return lambda texts: _grouped(module, way, values(way), texts, pad)

    way = settle(module, kind, ways, lambda way: reader(way)(probe), alone, list(map(len, probe)))
    return way, reader(way)


def _grouped(module: Any, way: Way, values: Values, texts: Sequence[Text], pad: int) -> Any:
    import torch

    places = groups(list(map(len, texts)), way.grouping)
    found = [values(_given(module, [texts[place] for place in group], pad)) for group in places]
    order = torch.tensor([place for group in places for place in group], device="cpu").argsort()
    together = torch.cat(found)
    return together[order.to(together.device)]


def _given(module: Any, texts: Sequence[Text], pad: int) -> dict[str, Any]:
    """Texts as a model's input, padded on the right."""
    device = device_of(module)
    ids, mask = padded([text.tokens for text in texts], pad, device)
    given = {"input_ids": ids, "attention_mask": mask}
    if all(text.types for text in texts) and "token_type_ids" in signature(module.forward).parameters:
        given["token_type_ids"] = padded([text.types for text in texts], 0, device)[0]
    return given


def padding_token(
    module: Any, tokenizer: Any, request: ClassificationRequest, inputs: Sequence[Sequence[int]]
) -> int:
    """Return the token to pad with: for a head that of the model's configuration.

    A decoder's head reads the last token that is not that one, whatever the mask says. Where the
    configuration of the model names none, or one outside its vocabulary, a text alone is read at its
    very last token; the configuration is then given a token that ends no text, if possible the
    tokenizer's own.
    """
    pad: int | None = tokenizer.pad_token_id
    if request.scoring != "head":
        return pad or 0  # masked, and never read
    config = module.config.get_text_config()
    known: int | None = (
        None if getattr(module, "calbench_pads", False) else getattr(config, "pad_token_id", None)
    )
    # CANINE reads characters, which it hashes: any number will do.
    n_tokens = n_known_tokens(module) or 1 << 16
    if known is not None and 0 <= known < n_tokens:
        return known
    last = {tokens[-1] for tokens in inputs}
    wanted = () if pad is None or pad >= n_tokens else (pad,)
    chosen = next((token for token in (*wanted, *range(n_tokens)) if token not in last), None)
    if chosen is None:
        raise InputError(
            "every token of the vocabulary ends some text, so that none is left to pad with; set"
            " pad_token_id in the model's config.json"
        )
    module.calbench_pads, config.pad_token_id = True, chosen
    return int(chosen)
