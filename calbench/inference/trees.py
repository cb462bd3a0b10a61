"""All options of a question in one row: a context, and branches that do not see each other.

Options that begin with the same tokens share them, as all of them share the context: the row is a
trie. A token sees its ancestors, and stands where it would if its option stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.arrays import Bool
from calbench.inference.choice_tokens import Choices


@dataclass(frozen=True)
class Tree:
    """One question, after a prefix that the model has already read.

    Parameters
    ----------
    tokens
        Of the context and then of the branches, parents before children.
    parents
        For each token the one before it; -1 for the first.
    positions
        Of the tokens in the whole text.
    reads
        For each token of each option in turn, after which of ``tokens`` it is predicted.
    """

    tokens: list[int]
    parents: list[int]
    positions: list[int]
    reads: list[int]

    @classmethod
    def of(cls, question: Choices, n_prefix: int) -> Tree:
        """Lay out a question whose context begins with the prefix."""
        tokens = list(question.context[n_prefix:])
        parents = list(range(-1, len(tokens) - 1))
        positions = list(range(n_prefix, n_prefix + len(tokens)))
        root, children, reads = len(tokens) - 1, dict[tuple[int, int], int](), list[int]()
        for option in question.options:
            at = root
            for token in option[:-1]:
                reads.append(at)
                if (at, token) not in children:
                    children[at, token] = len(tokens)
                    tokens.append(token)
                    parents.append(at)
                    positions.append(positions[at] + 1)
                at = children[at, token]
            # The last token is predicted, but nothing follows it.
            reads.append(at)
        return cls(tokens, parents, positions, reads)

    def visible(self, width: int) -> Bool:
        """Which token sees which, ``(width, width)``; padding sees the first token, and is not read."""
        sees = np.zeros((width, width), dtype=np.bool_)
        for token, parent in enumerate(self.parents):
            if parent >= 0:
                sees[token] = sees[parent]
            sees[token, token] = True
        sees[len(self.parents) :, 0] = True
        return sees


@dataclass(frozen=True, eq=False)
class TreeBatch:
    """Questions as one model input.

    Parameters
    ----------
    ids, positions : (n_rows, width) int
        Tokens, and their positions in the whole text.
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
    """Length of a question's row."""
    return len(Tree.of(question, n_prefix).tokens)


def tree_batch(questions: Sequence[Choices], *, n_prefix: int, dtype: Any, device: Any) -> TreeBatch:
    """Lay questions out whose contexts all begin with the prefix."""
    import torch

    trees = [Tree.of(question, n_prefix) for question in questions]
    width = max(len(tree.tokens) for tree in trees)
    ids, positions = np.zeros((2, len(trees), width), dtype=np.int64)
    sees = np.ones((len(trees), 1, width, n_prefix + width), dtype=np.bool_)
    places: dict[int, int] = {}
    wanted: list[tuple[int, int]] = []
    for row, (tree, question) in enumerate(zip(trees, questions, strict=True)):
        ids[row, : len(tree.tokens)] = tree.tokens
        positions[row, : len(tree.tokens)] = tree.positions
        sees[row, 0, :, n_prefix:] = tree.visible(width)
        answers = (token for option in question.options for token in option)
        wanted += [
            (places.setdefault(row * width + read, len(places)), token)
            for read, token in zip(tree.reads, answers, strict=True)
        ]
    hidden = torch.from_numpy(~sees).to(device)
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
    return TreeBatch(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(positions).to(device),
        mask.masked_fill_(hidden, torch.finfo(dtype).min),
        torch.tensor(list(places), device=device),
        torch.tensor(wanted, device=device),
    )
