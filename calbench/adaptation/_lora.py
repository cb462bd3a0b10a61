"""LoRA layers in a loaded model, quantized or not; the base is frozen, and stays what it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from calbench import devices
from calbench.adaptation._recipe import Recipe
from calbench.errors import BackendUnavailableError, InputError
from calbench.models import quiet
from calbench.quantizers import Quantizer, block_linears, model_tensors, tensors_hash
from calbench.registry import unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

_ADAPTER = "default"
_MARKS = {"Linear4bit": "is_loaded_in_4bit", "Linear8bitLt": "is_loaded_in_8bit"}


def target_layers(model: nn.Module, patterns: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the linear layers that get an adapter.

    Parameters
    ----------
    model
        At any precision.
    patterns
        See :class:`Recipe`; empty for every linear layer inside the model's blocks.

    Raises
    ------
    InputError
        A pattern matches no such layer (the message names candidates), or the model's layers are of
        a kind that gradients cannot pass.
    """
    layers = block_linears(model)
    if not layers:
        raise InputError(
            f"no layer of {type(model).__name__} can carry a LoRA adapter: its quantized layers are no"
            " torch linear layers; train on fp32, bf16 or a bitsandbytes quantizer"
        )
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in layers if f".{pattern}." in f".{name}."]
        if not found:
            parts = {part for name in layers for part in name.split(".") if not part.isdigit()}
            raise InputError(unknown("LoRA target", pattern, parts))
        chosen.update(found)
    return tuple(name for name in layers if not patterns or name in chosen)


def attach(model: nn.Module, recipe: Recipe, *, compute_dtype: str = "float32") -> tuple[str, ...]:
    """Put untrained adapters into a model, in place, and freeze everything else.

    ``B`` starts at 0, so the model still answers as before. ``A`` is drawn from the recipe's seed;
    torch's own generator is left as it was.

    Parameters
    ----------
    compute_dtype
        What the base computes in; the adapters are kept in the same.

    Returns
    -------
    tuple of str
        The layers that have an adapter now.

    Raises
    ------
    BackendUnavailableError
        peft is not installed.
    InputError
        See :func:`target_layers`.
    """
    names = target_layers(model, recipe.targets)
    with quiet():
        try:
            from peft import inject_adapter_in_model
        except ImportError as error:
            raise BackendUnavailableError("adapters need peft; pip install 'calbench[embedded]'") from error
        import torch

        with torch.random.fork_rng(devices=devices.seeded_cards()), _announced(model):
            torch.manual_seed(recipe.seed)
            inject_adapter_in_model(lora_config(recipe, names), model, _ADAPTER)
    for parameter in adapter_parameters(model).values():
        parameter.data = parameter.data.to(getattr(torch, compute_dtype))
    model.eval()
    return names


def lora_config(recipe: Recipe, names: tuple[str, ...]) -> Any:
    """Return peft's configuration of the adapters of these layers.

    Returns
    -------
    peft.LoraConfig
    """
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(names),
        bias="none",
    )


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by peft's name for them, which is that of a stored adapter."""
    return {
        name.replace(f".{_ADAPTER}.", "."): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the adapters' weights."""
    return {name: p.detach().clone() for name, p in adapter_parameters(model).items()}


def set_adapter(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write weights into the adapters of a model that :func:`attach` prepared.

    Raises
    ------
    InputError
        The names or shapes are not those of this model's adapters.
    """
    parameters = adapter_parameters(model)
    odd = sorted(parameters.keys() ^ state.keys())
    if odd:
        raise InputError(f"the adapter is not one of this model: {odd[0]} is in one of the two only")
    for name, parameter in parameters.items():
        if parameter.shape != state[name].shape:
            raise InputError(
                f"the adapter's {name} has the shape {tuple(state[name].shape)}, this model's"
                f" {tuple(parameter.shape)}"
            )
        parameter.data.copy_(state[name])


def base_hash(model: nn.Module, quantizer: Quantizer) -> str:
    """SHA-256 over every tensor of the base under the adapters, scales of quantized layers included."""
    tensors = model_tensors(model, quantizer, quantizer.describe(model))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    return tensors_hash({name: tensor for name, tensor in tensors.items() if name not in trained})


@contextmanager
def _announced(model: nn.Module) -> Iterator[None]:
    """Tell peft for a moment which quantized layers it will meet: it asks the model, not the layers.

    transformers sets these marks when it quantizes itself, and then refuses to move or cast the model;
    so they are taken off again.
    """
    kinds = {type(module).__name__ for module in model.modules()}
    marks = [mark for kind, mark in _MARKS.items() if kind in kinds]
    for mark in marks:
        setattr(model, mark, True)
    try:
        yield
    finally:
        for mark in marks:
            delattr(model, mark)
