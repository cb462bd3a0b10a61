"""Bytes and hashes of a model, from its tensors: what libraries report about themselves is often wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.quantizers._protocol import Quantizer


def model_tensors(
    model: nn.Module, quantizer: Quantizer, quantized: Iterable[str]
) -> dict[str, torch.Tensor]:
    """All tensors that a model is kept in, by name, sorted.

    Parameters, buffers, and for each quantized module what ``quantizer.weight_tensors`` adds: the
    scales that bitsandbytes, for one, hides from both.
    """
    tensors: dict[str, torch.Tensor] = {}
    modules = dict(model.named_modules())
    hidden = set(quantized)
    for name, module in modules.items():
        prefix = f"{name}." if name else ""
        own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        if name in hidden:
            own.pop("weight", None)
            own |= quantizer.weight_tensors(module)
        tensors |= {prefix + key: tensor.detach() for key, tensor in own.items()}
    return dict(sorted(tensors.items()))


def size_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes that tensors take, each storage counted once."""
    seen: dict[tuple[str, int], int] = {}
    for tensor in tensors:
        for part in _flattened(tensor):
            place = str(part.device), part.untyped_storage().data_ptr()
            seen[place] = max(seen.get(place, 0), part.nbytes)
    return sum(seen.values())


def tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names, wherever the tensors lie."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        for part in _flattened(tensors[name]):
            digest.update(f"{name} {part.dtype} {tuple(part.shape)}\n".encode())
            flat = part.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flattened(tensor: torch.Tensor) -> list[torch.Tensor]:
    # Tensor subclasses such as torchao's show the shape and type of the weight that they stand for.
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in names for part in _flattened(getattr(tensor, name))]
