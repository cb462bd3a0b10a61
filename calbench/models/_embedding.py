"""The table of token embeddings, of models that have one."""

from __future__ import annotations

from typing import Any


def embedding_of(module: Any) -> Any:
    """Return the module of token embeddings, or None: CANINE reads characters and hashes them.

    What Perceiver calls so is a parameter, its latents.
    """
    look = getattr(module, "get_input_embeddings", None)  # modules that are no model of transformers lack it
    try:
        found = look() if look is not None else None
    except NotImplementedError:  # a model without a table
        return None
    return found if hasattr(found, "parameters") else None
