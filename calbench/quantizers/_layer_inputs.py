"""What linear layers read while a model runs on quantization samples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from calbench.errors import QuantizationError
from calbench.quantizers._samples import QuantizationSamples


@dataclass(eq=False)
class LayerInputs:
    """Sums over the tokens that a layer read; ``(in_features,)``, and the moment a square of it.

    Parameters
    ----------
    magnitude
        Sum of absolute values.
    largest
        Of absolute values.
    moment
        ``X^T X``; None unless asked for.
    n_tokens
        How many there were.
    """

    magnitude: torch.Tensor
    largest: torch.Tensor
    moment: torch.Tensor | None
    n_tokens: int = 0

    def add(self, tokens: torch.Tensor) -> None:
        """Add inputs ``(n, in_features)``."""
        size = tokens.abs()
        self.magnitude += size.sum(dim=0)
        self.largest = torch.maximum(self.largest, size.amax(dim=0))
        if self.moment is not None:
            self.moment.addmm_(tokens.T, tokens)
        self.n_tokens += len(tokens)


@torch.no_grad()
def measured(
    model: nn.Module, names: Sequence[str], samples: QuantizationSamples, *, moments: bool
) -> dict[str, LayerInputs]:
    """Run a float model on the samples, one text at a time, and sum up what some layers read.

    Layers that read one tensor, such as query, key and value, share one sum.

    Raises
    ------
    QuantizationError
        A layer never ran.
    """
    found: dict[str, LayerInputs] = {}
    last: list[tuple[torch.Tensor, LayerInputs]] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def see(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            tensor = inputs[0]
            if last and last[0][0] is tensor and found.get(name, last[0][1]) is last[0][1]:
                found[name] = last[0][1]
                return
            tokens = tensor.detach().reshape(-1, tensor.shape[-1]).float()
            if name not in found:
                width = tokens.shape[1]
                zeros = torch.zeros(width, device=tokens.device)
                moment = torch.zeros(width, width, device=tokens.device) if moments else None
                found[name] = LayerInputs(zeros, zeros.clone(), moment)
            found[name].add(tokens)
            last[:] = [(tensor, found[name])]

        return see

    handles = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    try:
        for text in samples.token_ids:
            ids = torch.tensor([text], device=next(model.parameters()).device)
            model(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    finally:
        for handle in handles:
            handle.remove()
    idle = [name for name in names if name not in found]
    if idle:
        raise QuantizationError(
            f"{', '.join(idle[:3])} never ran on the quantization samples;"
            f" write skip={idle[0].rpartition('.')[2]} in the quantizer's id"
        )
    return found
