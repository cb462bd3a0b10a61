"""Whether a folder's files hold the model at full precision, and all of it."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from calbench.errors import InputError

AUTOGPTQ = "quantize_config.json"
_POINTER = b"version https://git-lfs"
# As safetensors names types: codes of 8 bits and less. Some models keep a table of bool or int64.
_CODES = re.compile(r"F8_.*|F4.*|F6.*|I8|U8|I4|U4")
_INTEGERS = re.compile(r"[IU](16|32|64)")
_SCALES = re.compile(
    r"(\.|_)(weight_scale(_inv|_2)?|weight_packed|weight_shape|input_scale|scale_inv|qweight|qzeros|scales"
    r"|g_idx|absmax|SCB|quant_state.*|blocks|zero_point|activation_scale|k_scale|v_scale)$"
)
# Tables that older versions saved and newer ones compute.
_COMPUTED = re.compile(
    r"(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|attention\.bias|freqs_cis|num_batches_tracked)$"
)


def quantized_tensors(folder: Path) -> list[str]:
    """Return the names, with their types, of tensors that hold codes or scales of quantized weights."""
    found = []
    for file in sorted(folder.glob("*.safetensors")):
        for name, described in _header(file).items():
            kind = described.get("dtype", "") if isinstance(described, dict) else ""
            codes = _CODES.fullmatch(kind) or (name.endswith("weight") and _INTEGERS.fullmatch(kind))
            if codes or (name != "__metadata__" and _SCALES.search(name)):
                found.append(f"{name} ({kind})")
    return found


def _header(file: Path) -> dict[str, Any]:
    """A safetensors file's table of contents: what it holds is known without reading any of it."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(length))
    except (OSError, struct.error, ValueError, MemoryError, OverflowError):
        return {}  # loading it says what is wrong with it
    return header if isinstance(header, dict) else {}


def check_used(model_id: str, location: str, model: Any, unexpected: Iterable[str]) -> None:
    """Raise :class:`InputError` if a file's tensors belong to this model, and were not read.

    A head for another task and the tower of another modality are no part of it. A bias that the
    configuration leaves out is, and so are more blocks than it says, and what stands in a layer that has no
    parts, as an adapter does that was not merged.
    """
    known = {_pattern(name): not any(True for _ in part.children()) for name, part in model.named_modules()}

    def belongs(name: str) -> bool:
        owner = _pattern(name.rpartition(".")[0])
        outer = (owner[:at] for at, char in enumerate(owner) if char == ".")
        return owner in known or any(known.get(part) for part in outer)

    missed = [name for name in sorted(unexpected) if not _COMPUTED.search(name) and belongs(name)]
    if missed:
        raise InputError(
            f"model {model_id!r}: {location} holds {len(missed)} weights that its config.json leaves no place"
            f" for: {', '.join(missed[:4])}; give the configuration that belongs to these weights"
        )


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def settings_in(file: Path) -> dict[str, Any] | None:
    """Read a JSON file of settings, as ``save_pretrained`` writes them; None if there is none.

    Raises
    ------
    InputError
        It is not JSON, or holds something else than named settings.
    """
    if not file.is_file():
        return None
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON ({error}); save or download it again") from None
    if not isinstance(contents, dict):
        raise InputError(
            f"{file} holds no settings, but {type(contents).__name__}; save or download it again"
        )
    return contents


def quantization_settings(folder: Path) -> dict[str, Any] | None:
    """Read how a folder's weights were quantized, or None if its configuration does not say that.

    From ``quantization_config`` in ``config.json``, or AutoGPTQ's ``quantize_config.json``.

    Raises
    ------
    InputError
        A file is not JSON, or holds something else than settings.
    """
    for name in ("config.json", AUTOGPTQ):
        contents = settings_in(folder / name) or {}
        settings = contents.get("quantization_config") if name == "config.json" else contents
        if settings and not isinstance(settings, dict):
            raise InputError(f"{folder / name}: its quantization_config is no table of settings")
        if settings:
            # AutoGPTQ's own file does not name the method.
            return {"quant_method": "gptq", **settings} if name != "config.json" else dict(settings)
    return None


def refuse_pointers(folder: Path) -> None:
    """Raise :class:`InputError` if Git LFS left a note in the place of a file."""
    for file in sorted(folder.glob("*")):
        with suppress(OSError), file.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                raise InputError(
                    f"{file}: is what Git LFS leaves in the place of a file; fetch it with git lfs pull, in a"
                    " workflow with lfs: true at actions/checkout"
                )
