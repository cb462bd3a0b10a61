"""Second moments of the inputs of linear layers, padding left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from calbench.errors import QuantizationError


class SeenError(Exception):
    """Ends a forward pass whose rest is of no interest."""


@dataclass(eq=False)
class Hessian:
    """Running ``X^T X`` over the tokens that some layers read; float32.

    Parameters
    ----------
    layers
        Names of the layers that read the same tensor, such as query, key and value.
    """

    layers: list[str]
    total: torch.Tensor | None = None
    n_tokens: int = 0

    def add(self, tokens: torch.Tensor) -> None:
        """Add inputs ``(n, in_features)``."""
        product = tokens.T @ tokens
        self.total = product if self.total is None else self.total.add_(product)
        self.n_tokens += len(tokens)

    def mean(self) -> torch.Tensor:
        """Return the mean over tokens, ``(in_features, in_features)``."""
        if self.total is None or self.n_tokens == 0:
            raise QuantizationError(
                f"{', '.join(self.layers)} never ran on the quantization samples;"
                f" write skip={self.layers[0].rpartition('.')[2]} in the quantizer's id"
            )
        return self.total / self.n_tokens


class Squares(Hessian):
    """The diagonal alone, ``(in_features,)``: enough to tell whether layers read the same."""

    def add(self, tokens: torch.Tensor) -> None:
        """Add inputs ``(n, in_features)``."""
        squares = tokens.square().sum(dim=0)
        self.total = squares if self.total is None else self.total.add_(squares)
        self.n_tokens += len(tokens)


@dataclass(eq=False)
class Collector:
    """Gathers Hessians while a model runs; layers that read one tensor share one.

    Parameters
    ----------
    layers
        The layers to watch, by name.
    stop
        End the forward pass, by :class:`SeenError`, once a layer's input was seen.
    mask
        Which tokens of the current batch are real, ``(n, length)``.
    n_calls
        How often each layer ran.
    kind
        What is gathered.
    """

    layers: Mapping[str, nn.Module]
    stop: bool = False
    mask: torch.Tensor | None = None
    n_calls: Counter[str] = field(default_factory=Counter)
    kind: type[Hessian] = Hessian
    _of: dict[str, Hessian] = field(default_factory=dict)
    _last: tuple[torch.Tensor, Hessian] | None = None

    @contextmanager
    def watching(self) -> Iterator[Collector]:
        """Watch the layers' inputs inside the block; set :attr:`mask` before each batch."""
        handles = [layer.register_forward_pre_hook(self._hook(name)) for name, layer in self.layers.items()]
        try:
            yield self
        finally:
            self._last = None
            for handle in handles:
                handle.remove()

    def hessians(self) -> list[Hessian]:
        """Return one Hessian per shared input, in the order in which layers first ran."""
        idle = [name for name in self.layers if name not in self._of]
        return list(dict.fromkeys(self._of.values())) + [self.kind([name]) for name in idle]

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            tensor = inputs[0]
            if name not in self._of:
                # Identity of the object, not of the memory: the reference held here keeps it unique.
                shared = self._last is not None and self._last[0] is tensor
                hessian = self._last[1] if shared and self._last else self.kind([])
                hessian.layers.append(name)
                self._of[name] = hessian
            self.n_calls[name] += 1
            hessian = self._of[name]
            if hessian.layers[0] == name:
                hessian.add(self._real_tokens(tensor))
                self._last = (tensor, hessian)
            if self.stop:
                raise SeenError

        return record

    def _real_tokens(self, tensor: torch.Tensor) -> torch.Tensor:
        rows = tensor.detach().reshape(-1, tensor.shape[-1]).float()
        # A head or a pooler reads one row per text: there is no padding to leave out.
        if self.mask is not None and len(rows) == self.mask.numel():
            rows = rows[self.mask.reshape(-1).bool().to(rows.device)]
        return rows
