"""A prefix that many inputs share: read by the model once, seen by every batch after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def read_prefix(body: Any, tokens: Sequence[int], *, device: Any) -> Any:
    """Return a cache that holds the prefix's keys and values and never grows.

    transformers' own cache keeps what each forward pass adds, and wants one copy of the prefix per
    row of a batch; this one gives every batch the same prefix and forgets the rest.
    """
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import Cache, DynamicLayer

    class SharedPrefixLayer(DynamicLayer):  # type: ignore[misc]
        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            n_rows = len(key_states)
            return (
                torch.cat([self.keys.expand(n_rows, -1, -1, -1), key_states], dim=-2),
                torch.cat([self.values.expand(n_rows, -1, -1, -1), value_states], dim=-2),
            )

    growing = DynamicCache()
    body(input_ids=torch.tensor([list(tokens)], device=device), past_key_values=growing, use_cache=True)
    layers = []
    for read in growing.layers:
        layer = SharedPrefixLayer()
        layer.lazy_initialization(read.keys, read.values)
        layer.keys, layer.values = read.keys, read.values
        layers.append(layer)
    return Cache(layers=layers)
