"""All options of a question in one row: a context, and branches that do not see each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calbench.inference.choice_tokens import Choices


@dataclass(frozen=True, eq=False)
class TreeBatch:
    """Questions as one model input, after a prefix that the model has already read.

    Parameters
    ----------
    ids, positions : (n_rows, width) int
        Tokens, and their positions: each option's start anew where the context ends.
    mask : (n_rows, 1, width, n_prefix + width) float
        0 where a token may look, the dtype's lowest number where it may not.
    places : (n_places,) int
        Where in the flattened rows the head is applied.
    wanted : (n, 2) int
        A place (an index into ``places``) and the token to look up there, for each option's tokens
        in turn.
    """

    ids: Any
    positions: Any
    mask: Any
    places: Any
    wanted: Any


def n_tokens(question: Choices, n_prefix: int) -> int:
    """Length of a question's row. An option's last token is predicted, but nothing follows it."""
    return len(question.context) - n_prefix + sum(len(option) - 1 for option in question.options)


def tree_batch(questions: Sequence[Choices], *, n_prefix: int, dtype: Any, device: Any) -> TreeBatch:
    """Lay questions out whose contexts all begin with the prefix."""
    import torch

    width = max(n_tokens(question, n_prefix) for question in questions)
    ids, positions, branches = [], [], []
    places: list[int] = []
    wanted: list[tuple[int, int]] = []
    for row, question in enumerate(questions):
        tokens = list(question.context[n_prefix:])
        n_context = len(tokens)
        place = [*range(n_prefix, n_prefix + n_context)]
        branch = [0] * n_context
        root = len(places)  # where the first token of every option is predicted
        places.append(row * width + n_context - 1)
        for number, option in enumerate(question.options, start=1):
            wanted += [(root if i == 0 else len(places) + i - 1, token) for i, token in enumerate(option)]
            places += [row * width + len(tokens) + i for i in range(len(option) - 1)]
            tokens += option[:-1]
            place += range(n_prefix + n_context, n_prefix + n_context + len(option) - 1)
            branch += [number] * (len(option) - 1)
        padding = width - len(tokens)
        ids.append(tokens + [0] * padding)
        positions.append(place + [0] * padding)
        branches.append(branch + [-1] * padding)
    return TreeBatch(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        _mask(torch.tensor(branches, device=device), n_prefix, dtype),
        torch.tensor(places, device=device),
        torch.tensor(wanted, device=device),
    )


def _mask(branches: Any, n_prefix: int, dtype: Any) -> Any:
    """Let each token see the prefix, the context before it, and its own branch before it.

    Padding sees the context, so that no row of the mask is empty; nothing is read there.
    """
    import torch

    n_rows, width = branches.shape
    asking, seen = branches[:, :, None], branches[:, None, :]
    before = torch.ones(width, width, dtype=torch.bool, device=branches.device).tril()
    allowed = before & ((seen == 0) | (seen == asking))
    mask = torch.zeros(n_rows, 1, width, n_prefix + width, dtype=dtype, device=branches.device)
    mask[..., n_prefix:].masked_fill_(~allowed[:, None], torch.finfo(dtype).min)
    return mask
