"""The tensor types of GGUF files: their grids, and which one llama.cpp gives to which layer.

The rules are those of llama.cpp's ``llama-quant.cpp``: a type whose blocks do not fit into a layer's
rows is replaced by a legacy type of similar size, and the recipes ``Q4_K_M`` and ``Q5_K_M`` give more
bits to the layers that feed the residual stream, in some of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from calbench.errors import InputError
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers._selection import blocks

if TYPE_CHECKING:
    from torch import nn

# Bits of a code, weights that share a scale, weights in a block, and the largest half-step of the
# grid as a share of the largest weight that shares the scale.
_TYPES = {
    "Q8_0": (8, 32, 32, 1 / 254),
    "Q6_K": (6, 16, 256, 1 / 64),
    "Q5_K": (5, 32, 256, 1 / 31),
    "Q5_1": (5, 32, 32, 1 / 31),
    "Q5_0": (5, 32, 32, 1 / 32),
    "Q4_K": (4, 32, 256, 1 / 15),
    "Q4_0": (4, 32, 32, 1 / 16),
    "IQ4_NL": (4, 32, 32, 12 / 127),
    "IQ4_XS": (4, 32, 256, 12 / 127),
    "Q3_K": (3, 16, 256, 1 / 8),
    "Q2_K": (2, 16, 256, 1 / 3),
    "MXFP4": (4, 32, 32, 1 / 4),
    "NVFP4": (4, 16, 64, 1 / 6),
}
_FALLBACKS = {
    "Q2_K": "IQ4_NL",
    "Q3_K": "IQ4_NL",
    "IQ4_XS": "IQ4_NL",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
_RECIPES = {"Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K"}

IDS = {
    f"gguf-{name.lower()}": name for name in (*(n for n in _TYPES if n not in ("Q5_0", "Q5_1")), *_RECIPES)
}


def format_of(type_name: str) -> WeightFormat:
    """The grid of a type, for the proof."""
    if type_name == "F16":
        return WeightFormat("gguf-f16", 16, dtype="float16")
    bits, group_size, _, _ = _TYPES[type_name]
    return WeightFormat(f"gguf-{type_name.lower()}", bits, group_size)


def half_step(name: str) -> float:
    """Largest relative half-step of a type's grid; of a recipe, that of its coarsest type."""
    return _TYPES[_RECIPES.get(name, name)][3]


def fitting(type_name: str, width: int) -> str:
    """The type that llama.cpp stores rows of ``width`` weights in when it is asked for one.

    >>> fitting("Q4_K", 512), fitting("Q4_K", 576), fitting("Q4_K", 100)
    ('Q4_K', 'Q5_0', 'F16')

    Raises
    ------
    InputError
        llama.cpp has no replacement for the type.
    """
    if width % _TYPES[type_name][2] == 0:
        return type_name
    if type_name not in _FALLBACKS:
        raise InputError(
            f"{type_name} stores blocks of {_TYPES[type_name][2]} weights, which do not divide rows of"
            f" {width}, and llama.cpp has no other type for them; skip those layers"
        )
    other = _FALLBACKS[type_name]
    return "F16" if width % _TYPES[other][2] else other


def wanted(name: str, model: nn.Module, targets: tuple[str, ...]) -> dict[str, str]:
    """The type that an id asks of each layer, before any falls back."""
    if name not in _RECIPES:
        return dict.fromkeys(targets, name)
    base = _RECIPES[name]
    types = dict.fromkeys(targets, base)
    stack = list(blocks(model))
    for role, layers in _roles(targets, stack).items():
        for index, layer in enumerate(layers):
            if role == "ATTN_QKV":
                types[layer] = "Q5_K" if base == "Q4_K" else "Q6_K"
            elif _gets_more_bits(index, len(layers)):
                types[layer] = "Q6_K"
    return types


def _gets_more_bits(index: int, n: int) -> bool:
    # llama.cpp's use_more_bits: the first eighth, the last one, and every third in between.
    return index < n // 8 or index >= 7 * n // 8 or (index - n // 8) % 3 == 2


def _roles(targets: tuple[str, ...], stack: list[str]) -> dict[str, list[str]]:
    """Layers that the recipes treat apart, by their part in a block, in the blocks' order."""
    tails = {role: set(_tails(role)) for role in ("ATTN_V", "ATTN_QKV", "FFN_DOWN")}
    found: dict[str, list[str]] = {role: [] for role in tails}
    for block in stack:
        for name in targets:
            if name.startswith(block + "."):
                for role, known in tails.items():
                    if name[len(block) + 1 :] in known:
                        found[role].append(name)
    return found


def _tails(role: str) -> Iterator[str]:
    import gguf

    library: Any = gguf
    names: Callable[[Any], tuple[str, ...]] = library.TensorNameMap.block_mappings_cfg.get
    for pattern in names(library.MODEL_TENSOR[role]):
        yield pattern.partition("{bid}.")[2]
