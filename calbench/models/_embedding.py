"""The table of token embeddings, of models that have one."""

from __future__ import annotations

from typing import Any


def embedding_of(module: Any) -> Any:
    """Return the module of token embeddings, or None: CANINE reads characters and hashes them.

    What Perceiver calls so is a parameter, its latents.
    """
    try:
        found = module.get_input_embeddings()
        return found if hasattr(found, "parameters") else None
    except (AttributeError, NotImplementedError):  # no model of transformers, or one without a table
        return None
