"""GPTQ over a whole model: layer after layer, each seeing what the layers before it now give."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from calbench.errors import InputError, QuantizationError
from calbench.models import embedding_of
from calbench.quantizers._layers import put
from calbench.quantizers._samples import QuantizationSamples
from calbench.quantizers._selection import blocks, check_group_size
from calbench.quantizers.gptq._hessians import Collector, Hessian, SeenError, Squares
from calbench.quantizers.gptq._packed import PackedLinear
from calbench.quantizers.gptq._solver import Grid, solve

_BATCH_TOKENS = 4096
# Of the largest hidden state: what a sum in another order may change.
_CHAIN_TOLERANCE = 1e-4
# Of the squares that a layer reads: the same.
_PADDING_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Settings:
    """How weights are rounded; see :func:`calbench.quantizers.gptq._solver.solve`.

    ``bits`` names the linear layers to quantize, and gives each the width of its codes.
    """

    bits: Mapping[str, int]
    group_size: int
    symmetric: bool
    act_order: bool
    damp: float


@dataclass(eq=False)
class _Batch:
    """Padded samples, and what the next block will be called with."""

    token_ids: torch.Tensor
    mask: torch.Tensor
    hidden: torch.Tensor | None = None


_Run = Callable[[int, _Batch], Any]


@torch.no_grad()
def quantize_model(model: nn.Module, samples: QuantizationSamples, settings: Settings) -> None:
    """Replace layers of a float32 model by packed ones, in place.

    Parameters
    ----------
    model
        In evaluation mode; its forward takes ``input_ids`` and ``attention_mask``.
    samples
        What the layers' inputs are measured on.
    settings
        Which layers, and how to round.

    Raises
    ------
    InputError
        The group size does not divide a layer's inputs, or a token id is outside the vocabulary.
    QuantizationError
        A layer never ran on the samples.
    """
    targets = list(settings.bits)
    check_group_size(model, targets, settings.group_size)
    batches = _batches(model, targets, samples)
    stack = blocks(model)
    inside = {name: [t for t in targets if t.startswith(name + ".")] for name in stack}
    inside = {name: layers for name, layers in inside.items() if layers}
    calls = _chain(model, stack, batches) if inside else {}
    if not calls:
        inside = {}
    if inside:
        for name, block in stack.items():
            run = partial(_run_block, block, calls[name])
            _quantize_block(model, inside.get(name, []), batches, run, settings)
            for index, batch in enumerate(batches):
                batch.hidden = run(index, batch)
        for batch in batches:
            batch.hidden = None
    outside = [t for t in targets if not any(t in layers for layers in inside.values())]
    if outside:
        for hessian in _watch(model, outside, batches, partial(_run_model, model)).hessians():
            _replace(model, hessian, settings)


def _quantize_block(
    model: nn.Module, names: Sequence[str], batches: list[_Batch], run: _Run, settings: Settings
) -> None:
    """Quantize a block's layers in the order in which they run, each seeing those before it quantized.

    Each stage runs the block only as far as the layer that it is about.
    """
    if not names:
        return
    order = _watch(model, names, batches[:1], run)
    for stage in order.hessians():
        first = stage.layers[0]
        watched = _watch(model, [first], batches, run, stop=order.n_calls[first] == 1)
        _replace(model, replace(watched.hessians()[0], layers=stage.layers), settings)


def _watch(
    model: nn.Module,
    names: Sequence[str],
    batches: list[_Batch],
    run: _Run,
    *,
    stop: bool = False,
    kind: type[Hessian] = Hessian,
) -> Collector:
    """Run the batches and gather the Hessians of some layers."""
    collector = Collector({name: model.get_submodule(name) for name in names}, stop=stop, kind=kind)
    with collector.watching():
        for index, batch in enumerate(batches):
            collector.mask = batch.mask
            with suppress(SeenError):
                run(index, batch)
    return collector


def _replace(model: nn.Module, hessian: Hessian, settings: Settings) -> None:
    for bits in sorted({settings.bits[name] for name in hessian.layers}):
        layers = [name for name in hessian.layers if settings.bits[name] == bits]
        for name, layer in _solved(model, replace(hessian, layers=layers), bits, settings):
            put(model, name, layer)


def _solved(
    model: nn.Module, hessian: Hessian, bits: int, settings: Settings
) -> Iterator[tuple[str, PackedLinear]]:
    """Quantize the layers of one Hessian together: their rows do not depend on each other."""
    layers: list[Any] = [model.get_submodule(name) for name in hessian.layers]
    weight = torch.cat([layer.weight for layer in layers])
    size = settings.group_size if settings.group_size > 0 else weight.shape[1]
    grid = Grid(bits, size, settings.symmetric)
    try:
        codes = solve(
            weight, _moments(hessian, weight), grid, act_order=settings.act_order, damp=settings.damp
        )
    except QuantizationError as error:
        raise QuantizationError(f"{hessian.layers[0]}: {error}") from error
    start = 0
    for name, layer in zip(hessian.layers, layers, strict=True):
        stop = start + layer.out_features
        part = codes.rows(start, stop)
        yield name, PackedLinear.from_codes(part, bits=bits, bias=layer.bias)
        start = stop


def _moments(hessian: Hessian, weight: torch.Tensor) -> torch.Tensor:
    """Second moments of a layer's inputs; of an expert that no sample was sent to, those of white noise.

    With them GPTQ rounds to nearest. Few samples reach all of a hundred experts.
    """
    if hessian.n_tokens == 0 and all("_experts." in name for name in hessian.layers):
        return torch.eye(weight.shape[1], device=weight.device)
    return hessian.mean()


def _batches(model: nn.Module, targets: Sequence[str], samples: QuantizationSamples) -> list[_Batch]:
    """Pad samples on the right, texts of like length together; of equal length, where padding would count."""
    embedding = embedding_of(model)
    if embedding is None:  # any number will do
        embedding, vocabulary = model, 1 << 31
    else:
        vocabulary = int(embedding.num_embeddings)
    rows = sorted(samples.token_ids, key=len)
    largest = max(map(max, rows))
    if largest >= vocabulary:
        raise InputError(f"a quantization sample holds the token id {largest}; the model knows {vocabulary}")
    device = next(embedding.parameters()).device
    pads = _padding_is_left_out(model, targets, rows[0], rows[-1], device)
    grouped: list[list[tuple[int, ...]]] = [[]]
    for row in rows:
        full = (len(grouped[-1]) + 1) * len(row) > _BATCH_TOKENS
        if grouped[-1] and (full or not (pads or len(row) == len(grouped[-1][0]))):
            grouped.append([])
        grouped[-1].append(row)
    return [_padded(group, device) for group in grouped]


def _padding_is_left_out(
    model: nn.Module,
    targets: Sequence[str],
    shortest: tuple[int, ...],
    longest: tuple[int, ...],
    device: torch.device,
) -> bool:
    """Whether every layer reads the same of two texts in one batch as of each alone.

    Not so where a model does not heed the mask, nor of experts, who are given tokens in another order.
    """
    if len(shortest) == len(longest):
        return True
    run = partial(_run_model, model)

    def read(*batches: list[tuple[int, ...]]) -> dict[str, Hessian]:
        padded = [_padded(rows, device) for rows in batches]
        found = _watch(model, targets, padded, run, kind=Squares).hessians()
        return {name: squares for squares in found for name in squares.layers}

    together, alone = read([shortest, longest]), read([shortest], [longest])
    return all(_same_squares(together[name], alone[name]) for name in targets)


def _same_squares(found: Hessian, expected: Hessian) -> bool:
    if found.total is None or expected.total is None or found.n_tokens != expected.n_tokens:
        return found.n_tokens == expected.n_tokens
    difference = (found.total - expected.total).norm()
    return bool(difference <= _PADDING_TOLERANCE * expected.total.norm())


def _padded(rows: list[tuple[int, ...]], device: torch.device) -> _Batch:
    width = len(rows[-1])
    token_ids = torch.zeros(len(rows), width, dtype=torch.int64, device="cpu")
    mask = torch.zeros_like(token_ids)
    for index, row in enumerate(rows):
        token_ids[index, : len(row)] = torch.tensor(row, device="cpu")
        mask[index, : len(row)] = 1
    return _Batch(token_ids.to(device), mask.to(device))


@dataclass(frozen=True)
class _Call:
    """What a block is called with besides its hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _record_calls(
    model: nn.Module, stack: dict[str, nn.Module], batches: list[_Batch]
) -> dict[str, list[_Call]]:
    """Learn what every block is called with, per batch, without running any of them."""
    calls: dict[str, list[_Call]] = {name: [] for name in stack}
    first = next(iter(stack))
    # A model that is divided over GPUs has forward methods of its own.
    own = {name: block.__dict__["forward"] for name, block in stack.items() if "forward" in block.__dict__}

    def recorder(name: str, batch: _Batch) -> Callable[..., torch.Tensor]:
        def record(*args: Any, **kwargs: Any) -> torch.Tensor:
            # A cache would grow with every run of the block.
            rest: dict[str, Any] = {
                k: None if k.startswith("past_key_value") else v for k, v in kwargs.items()
            }
            hidden: torch.Tensor = args[0] if args else rest.pop("hidden_states")
            if name == first and batch.hidden is None:
                batch.hidden = hidden
            calls[name].append(_Call(args[1:], rest))
            return hidden

        return record

    try:
        for batch in batches:
            for name, block in stack.items():
                block.forward = recorder(name, batch)
            # Without its head: the logits of every token of a batch would take gigabytes.
            _run_model(getattr(model, "base_model", model), 0, batch)
    finally:
        for name, block in stack.items():
            del block.forward
            if name in own:
                block.forward = own[name]
    return calls


def _chain(model: nn.Module, stack: dict[str, nn.Module], batches: list[_Batch]) -> dict[str, list[_Call]]:
    """Learn what every block is called with, where each block's output is the next one's first input.

    Empty where that is not so, and the model has to run as a whole: a decoder's first block does not
    go on from the encoder's last, a block that runs several times (ALBERT's) has no input of its own,
    and some hand more from block to block than their hidden states.
    """
    try:
        calls = _record_calls(model, stack, batches)
        if all(len(of_block) == len(batches) for of_block in calls.values()):
            expected = _block_inputs(model, stack, batches[0])
            found = replace(batches[0])
            for name, block in stack.items():
                if not _same(found.hidden, expected[name], found.mask):
                    return {}
                found.hidden = _run_block(block, calls[name], 0, found)
            return calls
    except Exception:  # noqa: BLE001 (of blocks that cannot be called alone: the whole model can)
        return {}
    return {}


def _block_inputs(model: nn.Module, stack: dict[str, nn.Module], batch: _Batch) -> dict[str, torch.Tensor]:
    """What each block reads where the model runs as it is."""
    found: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[name] = args[0] if args else kwargs["hidden_states"]

        return record

    handles = [b.register_forward_pre_hook(hook(n), with_kwargs=True) for n, b in stack.items()]
    try:
        _run_model(getattr(model, "base_model", model), 0, batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _same(found: torch.Tensor | None, expected: torch.Tensor, mask: torch.Tensor) -> bool:
    """Whether hidden states agree at all tokens that are no padding."""
    if found is None or found.shape != expected.shape:
        return False
    difference = (found - expected).abs()
    if difference.shape[:2] == mask.shape:
        difference = difference[mask.bool().to(difference.device)]
    return bool(difference.max() <= _CHAIN_TOLERANCE * max(1.0, float(expected.abs().max())))


def _run_model(model: nn.Module, _: int, batch: _Batch) -> None:
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    model(input_ids=batch.token_ids, attention_mask=batch.mask, **options)


def _run_block(block: nn.Module, calls: list[_Call], index: int, batch: _Batch) -> torch.Tensor:
    output = block(batch.hidden, *calls[index].args, **calls[index].kwargs)
    hidden: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
