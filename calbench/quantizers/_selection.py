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
from calbench.models import embedding_of
from calbench.registry import unknown

if TYPE_CHECKING:
    from torch import nn


_HEADS = {"lm_head", "classifier", "pre_classifier", "score", "classification_head", "logits_proj"}
_ONLY_READ = {("MambaMixer", "dt_proj")}


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """All linear layers that are called and do no more, as Llama 4's routers do, by dotted name, in order."""
    from torch import nn

    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not _does_more(type(module))
    }
    return {name: layer for name, layer in found.items() if not _only_read(model, name)}


def _only_read(model: nn.Module, name: str) -> bool:
    """Whether a forward pass multiplies by the layer's weight itself, and never calls the layer."""
    parent, _, child = name.rpartition(".")
    return (type(model.get_submodule(parent)).__name__, child) in _ONLY_READ


def _does_more(kind: type[nn.Linear]) -> bool:
    """Whether an architecture gave its linear layer a forward pass of its own; backends may."""
    from torch import nn

    return kind.__module__.startswith("transformers.models.") and kind.forward is not nn.Linear.forward


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Find the repeated blocks that hold linear layers, by dotted name, in order; outermost lists only."""
    from torch import nn

    found: dict[str, nn.Module] = {}
    elsewhere = outside_text(model)
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or any(_inside(name, part) for part in (*found, *elsewhere)):
            continue
        for index, block in enumerate(module):
            if any(isinstance(part, nn.Linear) for part in block.modules()):
                found[f"{name}.{index}"] = block
    return found


def outside_text(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules of a multimodal wrapper that do not run on text: towers and projectors."""
    from transformers import PreTrainedModel

    config = getattr(model, "config", None)
    if config is None or config.is_encoder_decoder or (text := config.get_text_config()) is config:
        return ()
    own = (
        n for n, m in model.named_modules() if isinstance(m, PreTrainedModel) and type(m.config) is type(text)
    )
    root = next(own, "")
    if not root:
        return ()
    on_the_way = {root.rsplit(".", n)[0] for n in range(root.count(".") + 1)}
    return tuple(
        name
        for parent in ("", *sorted(on_the_way - {root}))
        for child, module in model.get_submodule(parent).named_children()
        if (name := f"{parent}.{child}".lstrip(".")) not in on_the_way and not _is_head(model, name, module)
    )


def _is_head(model: nn.Module, name: str, module: nn.Module) -> bool:
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return module is output or bool(_HEADS & set(name.split(".")))


def kept_in_float32(model: nn.Module, *, always: bool = False) -> set[str]:
    """Names of parts that transformers keeps in float32: under float16, or under any 16 bits (``always``)."""
    names = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    return set(names) if always else {*names, *(getattr(model, "_keep_in_fp32_modules", None) or ())}


def weights_to_cover(model: nn.Module) -> dict[str, int]:
    """Sizes of all weights that a quantizer could be expected to quantize, by name.

    All matrices and kernels, in whatever kind of layer, but embeddings, heads and what does not run on
    text.
    """
    from torch import nn

    elsewhere, found = outside_text(model), dict[str, int]()
    for path, module in model.named_modules():
        apart = any(_inside(path, part) for part in elsewhere)
        if apart or isinstance(module, nn.Embedding) or _is_head(model, path, module):
            continue
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1 and "embed" not in key and "position" not in key:
                found[f"{path}.{key}"] = parameter.numel()
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
    chosen, weights = set(block_linears(model)), weights_to_cover(model)
    others = {name: size for name, size in weights.items() if name.rpartition(".")[0] not in chosen}
    n_others, n_weights = sum(others.values()), sum(weights.values())
    if n_others > n_weights / 2:
        largest = sorted(others, key=lambda name: -others[name])[:3]
        raise QuantizationError(
            f"{n_others / n_weights:.0%} of the weights of {type(model).__name__} outside embeddings and"
            f" heads are in no linear layer and would keep full precision: {', '.join(largest)}"
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
    return getattr(embedding_of(model), "weight", None) is layer.weight


def _without_heads(model: nn.Module, layers: dict[str, nn.Linear]) -> set[str]:
    return {name for name, layer in layers.items() if not _is_head(model, name, layer)}
