"""How one kind of request reads a loaded model, a batch at a time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from calbench.arrays import Float32
from calbench.errors import InputError

# Where models run, and so part of the identity of each record and adapter: another device rounds otherwise.
DEVICE = "cpu"


class Method(Protocol):
    """A model and items that are ready to be asked."""

    @property
    def inputs(self) -> Sequence[Hashable]:
        """What the model is shown for each item; equal inputs are asked once."""
        ...

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens that each item adds to a batch."""
        ...

    @property
    def width(self) -> int:
        """Number of logits of an item; where it has fewer options the rest is ``-inf``."""
        ...

    @property
    def budget(self) -> int:
        """Tokens that a batch may have, padding included."""
        ...

    @property
    def n_truncated(self) -> int:
        """How many inputs were cut to fit the model."""
        ...

    @property
    def engine(self) -> str:
        """How it is done, for the record."""
        ...

    def read(self, rows: Sequence[int]) -> Float32:
        """Ask one batch of items, given by their places; returns ``(len(rows), width)``."""
        ...


def padded(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Return token ids padded on the right, and the mask of what is no padding."""
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, tokens in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        mask[i, : len(tokens)] = 1
    return ids.to(device), mask.to(device)


def check_device(module: Any) -> None:
    """Raise :class:`InputError` unless the model lies where identities say that it runs."""
    device = device_of(module).type
    if device != DEVICE:
        raise InputError(
            f"{type(module).__name__} was loaded on {device!r}, and records are kept under {DEVICE!r};"
            " load it there, or hide the accelerator (CUDA_VISIBLE_DEVICES=-1)"
        )


def device_of(module: Any) -> Any:
    """Return where the model's input belongs; parts of a dispatched model may lie elsewhere."""
    return module.get_input_embeddings().weight.device
