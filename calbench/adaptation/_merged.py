"""A tuned model as a source of its own: the adapter merged into full-precision weights.

Only full-precision weights are merged into. Merging into quantized ones would round once more, and
change the model that was trained (cross-entropy 3.9 became 4.9 on SmolLM2 at 4 bits); such adapters
are evaluated unmerged.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from calbench.adaptation._recipe import Recipe
from calbench.adaptation._stored import StoredAdapter, merge_into
from calbench.cache import lock
from calbench.models import ModelSource, quiet
from calbench.quantizers import checkpoint_folder, verify_checkpoint, write_checkpoint

_WEIGHTS = ("*.safetensors", "model.safetensors.index.json")
_MODEL = "model"


def merged_source(
    source: ModelSource, adapter: StoredAdapter, recipe: Recipe, *, parent: Path, identity: Mapping[str, Any]
) -> ModelSource:
    """Return the source with the adapter in its weights, making the folder unless it is there.

    Parameters
    ----------
    source
        The full-precision model that the adapter was trained on; resolved.
    adapter, recipe
        What is merged.
    parent
        Where merged models are kept.
    identity
        Of the adapter.

    Raises
    ------
    CorruptRecordError
        A folder that is there differs from what was written.
    """
    folder = checkpoint_folder(parent, f"{source.id}-merged", identity)
    with lock(folder):
        if folder.exists():
            verify_checkpoint(folder, facts=identity)
        else:
            module = source.load()
            merge_into(module, adapter.state(), recipe)

            def save(place: Path) -> None:
                # Beside the manifest, which is no part of the model.
                model = place / _MODEL
                model.mkdir()
                unmerged = {path for pattern in _WEIGHTS for path in source.folder.glob(pattern)}
                for path in source.folder.iterdir():
                    if path.is_file() and path not in unmerged:
                        shutil.copy2(path, model / path.name)
                with quiet():
                    module.save_pretrained(model)

            write_checkpoint(folder, save, facts=identity, tensors_hash=adapter.tensors_hash, seconds=0.0)
            del module
            gc.collect()
    return replace(source, location=str(folder / _MODEL))
