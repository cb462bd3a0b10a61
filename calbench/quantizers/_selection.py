"""Which linear layers of a model are quantized.

One rule holds for every backend, so that backends are compared on the same layers: the linear
layers inside the model's stack of blocks. Embeddings, ``lm_head``, classification heads and what
lies between blocks and head (BERT's ``pooler``) keep full precision unless ``include`` names them.
A head is a few thousand weights out of millions and costs the most; a tied ``lm_head`` shares its
weights with the embedding and cannot be quantized alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from calbench.errors import InputError, QuantizationError
from calbench.registry import unknown

if TYPE_CHECKING:
    from torch import nn


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """All linear layers, by dotted name, in the model's order."""
    from torch import nn

    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Find the repeated blocks that hold linear layers, by dotted name, in order; outermost lists only."""
    from torch import nn

    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or any(_inside(name, block) for block in found):
            continue
        for index, block in enumerate(module):
            if any(isinstance(part, nn.Linear) for part in block.modules()):
                found[f"{name}.{index}"] = block
    return found


def module_groups(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Divide the linear layers into groups that are quantized or kept together.

    Returns
    -------
    dict
        For each block its layers, and for each layer outside of the blocks (a head, a pooler) itself;
        an output layer that is tied to the embedding belongs to none.
    """
    layers = linears(model)
    groups = {block: tuple(name for name in layers if _inside(name, block)) for block in blocks(model)}
    grouped = {name for names in groups.values() for name in names}
    alone = {n: (n,) for n, layer in layers.items() if n not in grouped and not _is_tied(model, layer)}
    return groups | alone


def block_linears(model: nn.Module) -> tuple[str, ...]:
    """Names of the linear layers that the rule above picks; none if the model has no such layer."""
    layers, stack = linears(model), list(blocks(model))
    inside = {name for name in layers if any(_inside(name, block) for block in stack)}
    chosen = inside or _without_heads(model, layers)
    return tuple(name for name in layers if name in chosen)


def select(model: nn.Module, *, skip: tuple[str, ...] = (), include: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the linear layers to quantize.

    Parameters
    ----------
    model
        At full precision.
    skip, include
        Patterns taken away from, and added to, the rule above; ``skip`` wins. A pattern is a run of
        whole components of the dotted name (``key``, ``layer.0``), a glob over the whole name
        (``*.mlp.*``), ``first:N`` or ``last:N`` (blocks).

    Raises
    ------
    InputError
        A pattern matches no linear layer: it would otherwise be ignored in silence.
    QuantizationError
        Nothing is left to quantize, a tied ``lm_head`` was included, or most weights of the blocks
        are in no linear layer, as the experts of many mixture-of-experts models are.
    """
    layers = linears(model)
    stack = list(blocks(model))
    _check_mostly_linear(model)
    chosen = set(block_linears(model))
    for pattern in include:
        chosen |= set(_matching(pattern, layers, stack))
    for pattern in skip:
        chosen -= set(_matching(pattern, layers, stack))
    if not chosen:
        raise QuantizationError(
            f"no linear layer of {type(model).__name__} is left to quantize;"
            f" it has {len(layers)}, skip is {'+'.join(skip) or 'empty'}"
        )
    tied = [name for name in layers if name in chosen and _is_tied(model, layers[name])]
    if tied:
        raise QuantizationError(f"{tied[0]} shares its weights with the input embedding; do not include it")
    return tuple(name for name in layers if name in chosen)


def matching(model: nn.Module, patterns: Iterable[str], *, among: Collection[str]) -> frozenset[str]:
    """Names among those given that a pattern matches, patterns as for :func:`select`.

    Raises
    ------
    InputError
        A pattern matches none of them: it would otherwise be ignored in silence.
    """
    layers, stack = linears(model), list(blocks(model))
    found = set[str]()
    for pattern in patterns:
        names = set(_matching(pattern, layers, stack)) & set(among)
        if not names:
            raise InputError(f"the pattern {pattern!r} matches only layers that are not quantized")
        found |= names
    return frozenset(found)


def check_group_size(model: nn.Module, names: Iterable[str], group_size: int) -> None:
    """Raise :class:`InputError` unless ``group_size`` divides the inputs of every layer; -1 always does."""
    for name in names:
        width = int(model.get_submodule(name).in_features)  # type: ignore[arg-type]
        if group_size > 0 and width % group_size:
            fitting = [size for size in (128, 64, 32, 16, 8) if width % size == 0]
            raise InputError(
                f"group_size={group_size} does not divide the {width} inputs of {name};"
                f" use {' or '.join(map(str, fitting)) or 'another'}, or -1 for one group per row"
            )


def _check_mostly_linear(model: nn.Module) -> None:
    from torch import nn

    n_linear, others = 0, dict[str, int]()
    for name, block in blocks(model).items():
        for path, module in block.named_modules(prefix=name):
            for key, parameter in module.named_parameters(recurse=False):
                if isinstance(module, nn.Linear):
                    n_linear += parameter.numel()
                elif parameter.ndim > 1 and not isinstance(module, nn.Embedding):
                    others[f"{path}.{key}"] = parameter.numel()
    n_others = sum(others.values())
    if n_others > n_linear:
        largest = sorted(others, key=lambda name: -others[name])[:3]
        raise QuantizationError(
            f"{n_others / (n_others + n_linear):.0%} of the weights in the blocks of {type(model).__name__}"
            f" are in no linear layer and would keep full precision: {', '.join(largest)}"
            f" ({len(others)} in all); only bf16 and fp16 can be asked of this model, which cast every tensor"
        )


def _matching(pattern: str, layers: dict[str, nn.Linear], stack: list[str]) -> Iterator[str]:
    names = [name for name in layers if _matches(pattern, name, stack)]
    if not names:
        parts = {part for name in layers for part in name.split(".") if not part.isdigit()}
        raise InputError(unknown("linear layer", pattern, parts))
    yield from names


def _matches(pattern: str, name: str, stack: list[str]) -> bool:
    end, colon, count = pattern.partition(":")
    if colon:
        if end not in ("first", "last") or not count.isdigit() or int(count) == 0:
            raise InputError(f"cannot read the pattern {pattern!r}; write first:N or last:N")
        picked = stack[: int(count)] if end == "first" else stack[-int(count) :]
        return any(_inside(name, block) for block in picked)
    return f".{pattern}." in f".{name}." or fnmatchcase(name, pattern)


def _inside(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def _is_tied(model: nn.Module, layer: nn.Linear) -> bool:
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    return embedding is not None and getattr(embedding, "weight", None) is layer.weight


def _without_heads(model: nn.Module, layers: dict[str, nn.Linear]) -> set[str]:
    heads = {"lm_head", "classifier", "pre_classifier", "score"}
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return {
        name for name, layer in layers.items() if not heads & set(name.split(".")) and layer is not output
    }
