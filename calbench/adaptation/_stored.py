"""Adapters on disk, in peft's layout, under the hash of all that could change them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbench import devices
from calbench.adaptation._answers import Request
from calbench.adaptation._data import TrainingData
from calbench.adaptation._lora import lora_config
from calbench.adaptation._recipe import Recipe
from calbench.models import ModelSource
from calbench.quantizers import checkpoint_folder, installed_versions, verify_checkpoint, write_checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

_WEIGHTS, _CONFIG, _HISTORY = "adapter_model.safetensors", "adapter_config.json", "training.json"
_PREFIX = "base_model.model."  # of every name in a file that peft can read


@dataclass(frozen=True)
class StoredAdapter:
    """A trained adapter on disk.

    Parameters
    ----------
    folder
        peft can read it, too: ``PeftModel.from_pretrained(base, folder)``.
    history
        What training saw: losses per step, looks at the calibration split, seconds.
    tensors_hash
        SHA-256 over the adapter's weights.
    """

    folder: Path
    history: Mapping[str, Any]
    tensors_hash: str

    @classmethod
    def read(cls, folder: Path, identity: Mapping[str, Any]) -> StoredAdapter:
        """Open the adapter of exactly this identity.

        Raises
        ------
        CorruptRecordError
            A file differs from what was written, or it is of another identity.
        """
        manifest = verify_checkpoint(folder, facts=identity)
        history = json.loads((folder / _HISTORY).read_text(encoding="utf-8"))
        return cls(folder, history, manifest.tensors_hash)

    def state(self) -> dict[str, Tensor]:
        """Return the weights, for :func:`calbench.adaptation._lora.set_adapter`."""
        from safetensors.torch import load_file

        return {name.removeprefix(_PREFIX): t for name, t in load_file(self.folder / _WEIGHTS).items()}


def adapter_identity(
    base: Mapping[str, Any],
    *,
    source: ModelSource,
    request: Request,
    data: TrainingData,
    recipe: Recipe,
    teacher: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return, as plain JSON, all that could change a trained adapter; nothing has to be loaded for it.

    Parameters
    ----------
    base
        Identity of the model under the adapter; see :func:`calbench.quantizers.identity`.
    source, request, data, recipe
        What is trained, how it is asked, on which items, and how.
    teacher
        Identity of the teacher of a distillation.
    """
    return {
        "base": dict(base),
        "tokenizer": source.tokenizer_hash,
        "max_length": source.max_length,
        "request": request.identity(),
        "items": data.identity(),
        "recipe": recipe.identity(),
        "teacher": dict(teacher) if teacher is not None else None,
        "device": devices.kind(),
        "versions": installed_versions(("torch", "transformers", "tokenizers", "peft", "numpy")),
    }


def folder_of(parent: Path, source: ModelSource, identity: Mapping[str, Any]) -> Path:
    """Where the adapter with this identity is, or would be."""
    return checkpoint_folder(parent, source.id, identity)


def write_adapter(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    recipe: Recipe,
    layers: tuple[str, ...],
    identity: Mapping[str, Any],
    history: Mapping[str, Any],
) -> StoredAdapter:
    """Write an adapter in one step."""
    from safetensors.torch import save_file

    from calbench.quantizers import tensors_hash

    def save(place: Path) -> None:
        save_file({_PREFIX + name: t.contiguous() for name, t in state.items()}, place / _WEIGHTS)
        lora_config(recipe, layers).save_pretrained(place)
        config = json.loads((place / _CONFIG).read_text(encoding="utf-8"))
        config["target_modules"] = sorted(config["target_modules"])  # a set, in any order
        config["inference_mode"] = True
        (place / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        (place / _HISTORY).write_text(json.dumps(history, indent=1), encoding="utf-8")

    manifest = write_checkpoint(
        folder,
        save,
        facts=identity,
        tensors_hash=tensors_hash(state),
        seconds=float(history.get("seconds", 0.0)),
    )
    return StoredAdapter(folder, dict(history), manifest.tensors_hash)


def merge_into(module: nn.Module, state: Mapping[str, Tensor], recipe: Recipe) -> None:
    """Add an adapter's update to the weights of a full-precision model, in place."""
    import torch

    scale = recipe.alpha / recipe.rank
    with torch.no_grad():
        for name, a in state.items():
            if ".lora_A." in name:
                layer, _, _ = name.partition(".lora_A.")
                update = state[f"{layer}.lora_B.weight"].float() @ a.float()
                weight = module.get_parameter(f"{layer}.weight")
                weight.add_(update.to(weight.device), alpha=scale)
