"""Questions in few rows: a context, and branches that do not see each other.

Options that begin with the same tokens share them, as all of them share the context, and as do
questions that happen to share a row: a row is a trie. A token sees its ancestors, and stands where
it would if its option stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapreplace
from typing import Any

import numpy as np

from calbench.inference._choice_tokens import Choices
from calbench.records import Bool

# In a row of this length attention costs as much as the linear layers (a decoder of 576 hidden units, whose
# blocks have 3.5 million weights; wider ones can have longer rows).
ROW_LENGTH_AT_TWICE_THE_COST = 3000


@dataclass
class Tree:
    """One row, after a prefix that the model has already read.

    Parameters
    ----------
    n_prefix
        Length of the prefix, with which the contexts of all questions in the row begin.
    tokens
        Of the contexts and the branches, parents before children.
    parents
        For each token the one before it; -1 for the first of a context.
    positions
        Of the tokens in the whole text.
    """

    n_prefix: int
    tokens: list[int] = field(default_factory=list, init=False)
    parents: list[int] = field(default_factory=list, init=False)
    positions: list[int] = field(default_factory=list, init=False)
    _children: dict[tuple[int, int], int] = field(default_factory=dict, init=False, repr=False)

    def add(self, question: Choices) -> list[int]:
        """Add a question; returns, for each token of each option in turn, after which one it is predicted."""
        root, reads = -1, list[int]()
        for token in question.context[self.n_prefix :]:
            root = self._child(root, token)
        for option in question.options:
            at = root
            for token in option[:-1]:
                reads.append(at)
                at = self._child(at, token)
            # The last token is predicted, but nothing follows it.
            reads.append(at)
        return reads

    def _child(self, parent: int, token: int) -> int:
        child = self._children.setdefault((parent, token), len(self.tokens))
        if child == len(self.tokens):
            self.tokens.append(token)
            self.parents.append(parent)
            self.positions.append(self.n_prefix if parent < 0 else self.positions[parent] + 1)
        return child

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
    """Return how many tokens a question adds to a row, if it shares none with others there."""
    tree = Tree(n_prefix)
    tree.add(question)
    return len(tree.tokens)


def tree_batch(questions: Sequence[Choices], *, n_prefix: int, dtype: Any, device: Any) -> TreeBatch:
    """Lay questions out whose contexts all begin with the prefix."""
    import torch

    trees, rows, reads = _trees(questions, n_prefix)
    width = max(len(tree.tokens) for tree in trees)
    ids, positions = np.zeros((2, len(trees), width), dtype=np.int64)
    sees = np.ones((len(trees), 1, width, n_prefix + width), dtype=np.bool_)
    for row, tree in enumerate(trees):
        ids[row, : len(tree.tokens)] = tree.tokens
        positions[row, : len(tree.tokens)] = tree.positions
        sees[row, 0, :, n_prefix:] = tree.visible(width)
    places: dict[int, int] = {}
    wanted = [
        (places.setdefault(row * width + read, len(places)), token)
        for question, row, places_read in zip(questions, rows, reads, strict=True)
        for read, token in zip(places_read, (t for option in question.options for t in option), strict=True)
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


def _trees(questions: Sequence[Choices], n_prefix: int) -> tuple[list[Tree], list[int], list[list[int]]]:
    """Return the rows, each question's row, and where its options' tokens are read."""
    rows = _rows([n_tokens(question, n_prefix) for question in questions], n_prefix)
    trees = [Tree(n_prefix) for _ in range(max(rows) + 1)]
    return trees, rows, [trees[row].add(question) for row, question in zip(rows, questions, strict=True)]


def _rows(sizes: Sequence[int], n_prefix: int) -> list[int]:
    """Return a row for each question, given its size.

    The longest goes first, always into the row with the least in it. Few rows leave little padding,
    many let each token look past less that it does not see: the cheapest number of them is taken.
    """
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    best, best_cost = [0] * len(sizes), float("inf")
    for n_rows in range(1, len(sizes) + 1):
        rows, filled = [0] * len(sizes), [(0, row) for row in range(n_rows)]
        for i in order:
            length, rows[i] = filled[0]
            heapreplace(filled, (length + sizes[i], rows[i]))
        width = max(filled)[0]
        cost = n_rows * width * (1 + (n_prefix + width) / ROW_LENGTH_AT_TWICE_THE_COST)
        if cost < best_cost:
            best, best_cost = rows, cost
    return best
