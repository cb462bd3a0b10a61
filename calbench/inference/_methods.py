"""How one kind of request reads a loaded model, a batch at a time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from calbench import devices
from calbench.errors import InputError
from calbench.models import ModelSource, embedding_of
from calbench.records import Float32

_POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")


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
    def packs(self) -> bool:
        """Whether short items fill the rows of long ones, or each takes as much as the longest of a batch."""
        ...

    @property
    def width(self) -> int:
        """Number of logits of an item; where it has fewer options the rest is ``-inf``."""
        ...

    @property
    def budget(self) -> int:
        """Tokens that a batch may have, with padding unless the method packs."""
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
    ids = torch.full((len(rows), width), pad, dtype=torch.long, device="cpu")
    mask = torch.zeros_like(ids)
    for i, tokens in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens, device="cpu")
        mask[i, : len(tokens)] = 1
    return ids.to(device), mask.to(device)


def at_last_token(values: Any, mask: Any) -> Any:
    """Return each row's values at its last token ``(n, k)``, from those at all tokens ``(n, t, k)``."""
    import torch

    # Of a model that is divided over GPUs, values lie where its last part is.
    last = (mask.sum(dim=1) - 1).to(values.device)
    return values[torch.arange(len(values), device=values.device), last]


def check_device(module: Any) -> None:
    """Raise :class:`InputError` unless the model lies where identities say that it runs."""
    device, expected = device_of(module).type, devices.kind()
    if device != expected:
        raise InputError(
            f"{type(module).__name__} was loaded on {device!r}, and records are kept under {expected!r};"
            f" load it there, or choose the other with ${devices.ENVIRONMENT_VARIABLE}"
        )


def check_tokens(module: Any, source: ModelSource, largest: int) -> None:
    """Raise :class:`InputError` if a token has no row in the model's table of embeddings."""
    n_rows = n_known_tokens(module)
    if n_rows is not None and largest >= n_rows:
        raise InputError(
            f"{source.id} knows {n_rows} tokens, and its tokenizer gives the token id {largest}; give the"
            " tokenizer that the model was trained with"
        )


def n_known_tokens(module: Any) -> int | None:
    """Rows of the table of token embeddings, of whatever kind it is; None where there is none."""
    weight = getattr(embedding_of(module), "weight", None)
    return None if weight is None else len(weight)


def check_length(module: Any, source: ModelSource, n_tokens: int) -> None:
    """Raise :class:`InputError` if an input is longer than the positions that a model learned."""
    config = module.config.get_text_config()
    n_places = _n_positions(config)
    if n_places is not None and n_tokens > n_places:
        raise InputError(_too_long(source, n_places, n_tokens))
    if getattr(config, "attention_type", None) == "block_sparse":
        n_seen = (5 + 2 * config.num_random_blocks) * config.block_size
        if n_tokens > n_seen:
            # BigBird leaves its sparse attention for good with the first text that is no longer than this.
            raise InputError(
                f"{source.id} attends to blocks of a text of more than {n_seen} tokens, and an input takes"
                f" {n_tokens}: what it says of one depends on the texts before; declare max_length ="
                f' {n_seen}, or set attention_type = "original_full" in its config.json'
            )
    for name, part in module.named_modules():
        if name.rpartition(".")[2] not in _POSITION_TABLES or not hasattr(part, "num_embeddings"):
            continue
        # Some begin to count behind a padding token's place.
        first = getattr(part, "offset", 0 if part.padding_idx is None else part.padding_idx + 1)
        n_places = part.num_embeddings - first
        if n_tokens > n_places:
            raise InputError(_too_long(source, n_places, n_tokens))


def _too_long(source: ModelSource, n_places: int, n_tokens: int) -> str:
    return (
        f"{source.id} has places for {n_places} tokens, and an input takes {n_tokens}; declare"
        f" max_length = {n_places}, and longer inputs are cut and counted"
    )


def _n_positions(config: Any) -> int | None:
    """For how many tokens rotary positions were trained or are stretched; None where there are none.

    Behind them a model answers all the same, and worse.
    """
    rotary = getattr(config, "rope_parameters", None)
    named: int | None = getattr(config, "max_position_embeddings", None)
    if not rotary or named is None or getattr(config, "alibi", False):
        return None
    # Where kinds of layers have positions of their own there is one such table a kind.
    tables = [table for table in rotary.values() if isinstance(table, dict)] or [rotary]
    # "dynamic" positions depend on the longest text that was read before, and so would the answers.
    stretched = [
        int(table["original_max_position_embeddings"] * table.get("factor", 1))
        for table in tables
        if table.get("original_max_position_embeddings") and table.get("rope_type") != "dynamic"
    ]
    return max([named, *stretched])


def turns_positions(module: Any, n_before: int, n_after: int) -> bool:
    """Whether rotary positions of all tokens change where a text grows from one length to another (Phi-3)."""
    config = module.config.get_text_config()
    rotary = getattr(config, "rope_parameters", None) or {}
    tables = [table for table in rotary.values() if isinstance(table, dict)] or [rotary]
    places = [t["original_max_position_embeddings"] for t in tables if t.get("rope_type") == "longrope"]
    return any(n_before <= place < n_after for place in places)


def device_of(module: Any) -> Any:
    """Return where the model's input belongs; parts of a dispatched model may lie elsewhere."""
    embedding = embedding_of(module)
    return next(module.parameters() if embedding is None else embedding.parameters()).device
