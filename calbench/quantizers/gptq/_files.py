"""Packed layers on disk: one safetensors file, in the usual names of GPTQ checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from calbench.errors import CorruptRecordError
from calbench.quantizers._layers import put
from calbench.quantizers.gptq._packed import PackedLinear

_FILE = "quantized.safetensors"
_PARTS = {"qweight", "qzeros", "scales", "g_idx"}


def save(model: nn.Module, folder: Path) -> None:
    """Write ``<layer>.qweight`` and so on for every packed layer of a model."""
    tensors = {
        f"{name}.{part}": module.get_buffer(part)
        for name, module in model.named_modules()
        if isinstance(module, PackedLinear)
        for part in sorted(_PARTS)
    }
    # One entry: the order of several differs from run to run, and with it the file's hash.
    save_file(tensors, folder / _FILE, metadata={"format": "pt"})


def load(model: nn.Module, folder: Path, *, bits: Mapping[str, int]) -> None:
    """Replace float layers by the packed ones of a folder, in place; biases stay the model's.

    ``bits`` is the width of each layer's codes.

    Raises
    ------
    CorruptRecordError
        The file's layers do not fit the model.
    """
    layers: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name, tensor in load_file(folder / _FILE).items():
        layer, _, part = name.rpartition(".")
        layers[layer][part] = tensor
    for name, tensors in layers.items():
        try:
            old = model.get_submodule(name)
        except AttributeError:
            old = None
        if not isinstance(old, nn.Linear) or name not in bits or set(tensors) != _PARTS:
            raise CorruptRecordError(f"{folder / _FILE}: the model has no linear layer for {name!r}")
        if tensors["g_idx"].shape != (old.in_features,) or tensors["scales"].shape[1] != old.out_features:
            raise CorruptRecordError(f"{folder / _FILE}: {name} does not have the model's shape")
        packed = PackedLinear(
            old.in_features, old.out_features, bits=bits[name], tensors=tensors, bias=old.bias
        )
        put(model, name, packed.eval())
