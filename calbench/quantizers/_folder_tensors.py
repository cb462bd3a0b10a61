"""The tensors of a checkpoint's folder: those of quantized layers, and all others into a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from calbench.errors import QuantizationError
from calbench.models import ModelSource


def tensors_of_layers(folder: Path, marker: str) -> dict[str, dict[str, torch.Tensor]]:
    """Everything stored of each layer that has a tensor called ``marker``, by layer and name."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    every = _read(folder)
    for key in every:
        layer, _, part = key.rpartition(".")
        if part == marker:
            found[layer] = {}
    for key, tensor in every.items():
        layer, _, part = key.rpartition(".")
        if layer in found:
            found[layer][part] = tensor
    return found


def fill_the_rest(model: nn.Module, folder: Path, source: ModelSource, layers: Collection[str]) -> None:
    """Overwrite what is not quantized by what the folder holds; nothing may be left over or left out.

    Raises
    ------
    QuantizationError
        The folder was not made from this model.
    """
    plain = {
        key: tensor.float() for key, tensor in _read(folder).items() if key.rpartition(".")[0] not in layers
    }
    own = dict(model.named_parameters())  # a tied weight appears once
    every: Mapping[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers()
    )
    strange = [key for key in plain if key not in every or plain[key].shape != every[key].shape]
    done = {id(every[key]) for key in plain if key in every}
    absent = [k for k, p in own.items() if id(p) not in done and k.rpartition(".")[0] not in layers]
    if strange or absent:
        raise QuantizationError(
            f"{folder} does not fit {source.id}: {len(strange)} of its tensors have no place in the model or"
            f" another shape, and {len(absent)} of the model's are missing"
            f" ({', '.join([*strange[:3], *absent[:3]])})"
        )
    with torch.no_grad():
        for key, tensor in plain.items():
            every[key].copy_(tensor)


def _read(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            found |= {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118 (no mapping)
    return found
