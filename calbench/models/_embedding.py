"""The table of token embeddings, of models that have one."""

from __future__ import annotations

from typing import Any


def embedding_of(module: Any) -> Any:
    """Return the module of token embeddings, or None: CANINE reads characters and hashes them."""
    try:
        return module.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # no model of transformers, or one without a table
        return None
