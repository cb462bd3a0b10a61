"""Questions with options, asked of a causal LM: log-likelihoods of the options' texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from calbench.inference._agreement import Grouping, Way, check_causal, forward_options, groups, settle
from calbench.inference._choice_tokens import Choices, encode_choices, shared_prefix
from calbench.inference._heads import head_stands_alone, log_probs_of, vocabulary_logits
from calbench.inference._methods import (
    check_length,
    check_tokens,
    device_of,
    padded,
    turns_positions,
)
from calbench.inference._prefixes import read_prefix
from calbench.inference._trees import n_tokens, tree_batch
from calbench.models import ModelSource
from calbench.records import Float32
from calbench.tasks import ChoiceRequest, LabelledItem

TOKENS_PER_BATCH = 1024
# Below this many tokens, reading the prefix with each batch costs less than looking it up.
MIN_PREFIX = 16


@dataclass(frozen=True, eq=False)
class ChoiceMethod:
    """Reads one log-likelihood per option; see :class:`calbench.inference._methods.Method`.

    Parameters
    ----------
    inputs
        The questions, and what their log-likelihoods are divided by.
    prefix
        Tokens with which the contexts begin that were not cut.
    lengths, packs, width, budget, n_truncated, engine
        As the protocol has them.
    likelihoods
        The engine: from questions and a cache of their prefix (or None) to log-likelihoods.
    """

    inputs: list[tuple[Choices, tuple[int, ...]]]
    prefix: tuple[int, ...]
    lengths: list[int]
    packs: bool
    width: int
    budget: int
    n_truncated: int
    engine: str
    module: Any
    likelihoods: Callable[[Sequence[Choices], int, Any], list[float]]

    def read(self, rows: Sequence[int]) -> Float32:
        """Ask one batch; questions whose context was cut do not share the prefix."""
        logits = np.full((len(rows), self.width), -np.inf, dtype=np.float32)
        sharing = [self._shares(self.inputs[row][0]) for row in rows]
        for shares in (True, False):
            places = [i for i, s in enumerate(sharing) if s == shares]
            if not places:
                continue
            questions = [self.inputs[rows[i]][0] for i in places]
            cache = self._cache if shares and self.prefix else None
            found = iter(self.likelihoods(questions, len(self.prefix) if cache is not None else 0, cache))
            for i, question in zip(places, questions, strict=True):
                for option, length in enumerate(self.inputs[rows[i]][1]):
                    logits[i, option] = sum(next(found) for _ in question.options[option]) / length
        return logits

    def _shares(self, question: Choices) -> bool:
        return question.context[: len(self.prefix)] == self.prefix and len(question.context) > len(
            self.prefix
        )

    @cached_property
    def _cache(self) -> Any:
        return read_prefix(self.module.base_model, self.prefix, device=device_of(self.module))


def choice_method(
    module: Any,
    tokenizer: Any,
    source: ModelSource,
    request: ChoiceRequest,
    items: Sequence[LabelledItem],
) -> ChoiceMethod:
    """Prepare questions.

    Questions and their options share rows (see :mod:`calbench.inference._trees`) wherever the model
    looks at all tokens alike; models with a sliding window shorter than the questions, without rotary
    positions, or for which trees change an answer, are asked one option per row.
    """
    questions, cut = encode_choices(tokenizer, request, items, max_length=source.max_length)
    inputs = list(zip(questions, divisors(request, items, questions), strict=True))
    check_length(module, source, longest(questions) - 1)  # the last token is predicted, never read
    check_tokens(module, source, max(max(*q.context, *map(max, q.options)) for q in questions))
    way = _way(module, questions)
    prefix = shared_prefix([q for q, was_cut in zip(questions, cut, strict=True) if not was_cut])
    if not way.trees or len(prefix) < MIN_PREFIX or turns_positions(module, len(prefix), longest(questions)):
        prefix = ()

    def likelihoods(asked: Sequence[Choices], n_prefix: int, cache: Any) -> list[float]:
        return list(option_log_probs(module, asked, way=way, n_prefix=n_prefix, cache=cache).tolist())

    return ChoiceMethod(
        inputs,
        prefix,
        [_length(question, prefix, trees=way.trees) for question in questions],
        way.trees,
        max(len(q.options) for q in questions),
        TOKENS_PER_BATCH,
        sum(cut),
        f"trees after a prefix of {len(prefix)} tokens" if way.trees else way.name,
        module,
        likelihoods,
    )


def ways_of(module: Any, questions: Sequence[Choices], *, whole: bool = False) -> list[Way]:
    """Return the ways to read questions of this length, fastest first.

    ``whole`` leaves out those that part body and head.
    """
    ways = [
        Way("one option per row", own=False),
        Way("one option per row, the model's own logits", own=True),
        Way("one option per row, equal lengths", own=True, grouping="equal lengths"),
        Way("one option at a time", own=True, grouping="one by one"),
    ]
    shortest = min(len(question.context) + min(map(len, question.options)) - 1 for question in questions)
    if turns_positions(module, shortest, longest(questions)):
        return ways[2:]
    if whole:
        return ways[1:]
    if takes_trees(module.config.get_text_config(), longest(questions)):
        ways.insert(0, Way("trees", own=False, trees=True))
    return ways


def _way(module: Any, questions: Sequence[Choices]) -> Way:
    """Find the fastest way that reads a long and a short question as the model does alone.

    In a tree a question's last option stands behind all else in its row: a mask that the model does
    not heed shows there first.
    """
    import torch

    ordered = sorted(set(questions), key=lambda question: (longest([question]), question.context))
    probe = [ordered[-1], ordered[0]]
    ends = np.cumsum([sum(map(len, question.options)) for question in probe])
    last = [range(end - len(question.options[-1]), end) for question, end in zip(probe, ends, strict=True)]

    def read(way: Way) -> Any:
        found = option_log_probs(module, probe, way=way)
        return torch.cat([found[list(places)] for places in last])

    def alone() -> Any:
        return torch.cat([_alone(module, question) for question in probe])

    first = [*probe[0].context, *probe[0].options[-1]]
    check_causal(module, first, device_of(module))
    ways = ways_of(module, questions, whole=not head_stands_alone(module, first))
    return settle(module, "choices", ways, read, alone, [longest([question]) for question in probe])


def _alone(module: Any, question: Choices) -> Any:
    """What the model itself says about a question's last option."""
    import torch

    last = question.options[-1]
    # The last token is predicted, never read.
    ids = torch.tensor([[*question.context, *last[:-1]]], device=device_of(module))
    logits = module(input_ids=ids, **forward_options(module)).logits[0, len(question.context) - 1 :]
    return logits.float().log_softmax(dim=-1)[range(len(last)), list(last)]


def divisors(
    request: ChoiceRequest, items: Sequence[LabelledItem], questions: Sequence[Choices]
) -> list[tuple[int, ...]]:
    """Return what each question's options' log-likelihoods are divided by."""
    return [
        tuple(request.lengths(item, list(map(len, question.options))))
        for item, question in zip(items, questions, strict=True)
    ]


def longest(questions: Sequence[Choices]) -> int:
    """Return how many tokens the longest text of a context and an option has."""
    return max(len(question.context) + max(map(len, question.options)) for question in questions)


def takes_trees(config: Any, length: int) -> bool:
    """Whether every layer of a model attends to all of ``length`` tokens, placed by rotary positions."""
    # Falcon's configuration has rotary parameters also where it uses ALiBi.
    rotary = getattr(config, "rope_parameters", None) is not None and not getattr(config, "alibi", False)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" in kinds or getattr(config, "layer_types", None) is None:
        covered = window is None or length <= window
    else:
        covered = True
    return rotary and kinds <= {"full_attention", "sliding_attention"} and covered


def _length(question: Choices, prefix: tuple[int, ...], *, trees: bool) -> int:
    if not trees:
        return len(question.options) * (len(question.context) + max(map(len, question.options)) - 1)
    shares = question.context[: len(prefix)] == prefix
    return n_tokens(question, len(prefix) if shares else 0)


def option_log_probs(
    module: Any, questions: Sequence[Choices], *, way: Way, n_prefix: int = 0, cache: Any = None
) -> Any:
    """Log-probability of each token of each option in turn, ``(n,)`` float32 on the model's device.

    Gradients are kept where torch keeps them.

    Parameters
    ----------
    module
        A causal language model.
    questions
        In tokens.
    way
        How the model is read; see :func:`ways_of`.
    n_prefix, cache
        How many tokens all contexts begin with that the model has read, and what it kept of them;
        for trees only.
    """
    if way.trees:
        hidden, places, wanted = _read_trees(module, questions, n_prefix, cache)
        return log_probs_of(vocabulary_logits(module), hidden.flatten(0, 1)[places.to(hidden.device)], wanted)
    return _read_rows(module, questions, way)


def _read_trees(module: Any, questions: Sequence[Choices], n_prefix: int, cache: Any) -> tuple[Any, Any, Any]:
    batch = tree_batch(questions, n_prefix=n_prefix, dtype=module.dtype, device=device_of(module))
    hidden = module.base_model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        past_key_values=cache,
        use_cache=cache is not None,
    ).last_hidden_state
    return hidden, batch.places, batch.wanted


def _read_rows(module: Any, questions: Sequence[Choices], way: Way) -> Any:
    import torch

    rows: dict[tuple[int, ...], int] = {}  # options of one letter share their text
    reads: list[tuple[int, int, int]] = []  # row, token before, token
    for question in questions:
        for option in question.options:
            # The last token is predicted, never read.
            row = rows.setdefault((*question.context, *option[:-1]), len(rows))
            reads += [(row, len(question.context) - 1 + i, token) for i, token in enumerate(option)]
    states = _states(module, list(rows), own=way.own, grouping=way.grouping)
    places: dict[tuple[int, int], int] = {}
    wanted = [(places.setdefault((row, at), len(places)), token) for row, at, token in reads]
    hidden = torch.stack([states[row][at] for row, at in places])
    logits = (lambda values: values) if way.own else vocabulary_logits(module)
    return log_probs_of(logits, hidden, torch.tensor(wanted, device=hidden.device))


def _states(module: Any, rows: Sequence[tuple[int, ...]], *, own: bool, grouping: Grouping) -> list[Any]:
    """Hidden states of each row's tokens ``(t, d)``, or the model's own logits ``(t, v)``."""
    part = module if own else module.base_model
    states: list[Any] = [None] * len(rows)
    for group in groups(list(map(len, rows)), grouping):
        ids, mask = padded([rows[row] for row in group], 0, device_of(module))
        output = part(input_ids=ids, attention_mask=mask, **forward_options(part))
        for place, row in enumerate(group):
            states[row] = (output.logits if own else output.last_hidden_state)[place]
    return states
