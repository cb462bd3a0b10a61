"""Tensors saved by torch, read with ``weights_only``: data alone, never a pickle's code."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import BackendUnavailableError, InputError
from calbench.records._content import bytes_of, reading

_PAIR = ("logits", "label")


def tensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns and the metadata of a ``.pt`` file.

    It holds a tuple ``(logits, labels)``, a mapping of names to tensors, or the logits alone.

    Raises
    ------
    BackendUnavailableError
        torch is not installed.
    InputError
        There is no such file, or it holds anything but tensors.
    """
    try:
        import torch
    except ImportError:
        raise BackendUnavailableError(f"{path}: needs torch; pip install torch") from None
    from pickle import UnpicklingError

    try:
        with reading(path, "torch tensors"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is refused just below
            content = torch.load(io.BytesIO(bytes_of(path)), map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path}: holds something else than tensors, and calbench never unpickles objects ({first});"
            " save a tuple (logits, labels) with torch.save"
        ) from None
    with reading(path, "torch tensors"):
        named = _named(path, content)
        # A single value, such as the model's name, is of the whole file.
        metadata = {name: value for name, value in named.items() if isinstance(value, str | int | float)}
        columns = {name: _array(value) for name, value in named.items() if name not in metadata}
    return columns, metadata


def _named(path: Path, content: Any) -> Mapping[str, Any]:
    if isinstance(content, Mapping):
        return {str(name): value for name, value in content.items()}
    if isinstance(content, tuple | list) and len(content) == len(_PAIR):
        return dict(zip(_PAIR, content, strict=True))
    if hasattr(content, "detach"):
        return {"logits": content}
    if isinstance(content, list) and content and all(isinstance(batch, Mapping) for batch in content):
        return _joined(content)
    raise InputError(
        f"{path}: holds a {type(content).__name__}; expected (logits, labels), or a mapping of names to"
        " tensors"
    )


def _joined(batches: list[Mapping[Any, Any]]) -> Mapping[str, Any]:
    """Join batches, as Lightning's ``predict`` returns them; what has no rows is of the first."""
    names = [name for name in batches[0] if all(getattr(batch.get(name), "ndim", 0) for batch in batches)]
    return {str(name): [row for batch in batches for row in batch[name]] for name in names}


def _array(value: Any) -> Any:
    if isinstance(value, list) and value and all(hasattr(entry, "detach") for entry in value):
        arrays = [_array(entry) for entry in value]
        return (
            np.stack(arrays)
            if len({array.shape for array in arrays}) == 1
            else [*map(np.ndarray.tolist, arrays)]
        )
    if not hasattr(value, "detach"):
        return value
    halved = value.dtype.is_floating_point and value.element_size() < 4  # numpy has no bfloat16
    return np.asarray(value.detach().float() if halved else value.detach())
