"""Fitted calibrators as torch modules; importing this module imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calbench.calibrators._fitted import Fitted
from calbench.errors import BackendUnavailableError

try:
    import torch
except ImportError as error:
    raise BackendUnavailableError("export to torch needs torch; pip install calbench[torch]") from error


class CalibratorModule(torch.nn.Module):
    """A fit's formula on torch; what the fit learned is in float64 buffers.

    Parameters
    ----------
    fitted
        A fit of a built-in calibrator. Another fit of the same shape can be loaded into the module
        with ``load_state_dict``.
    """

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        self.fitted = fitted
        self.register_buffer("_float64", torch.zeros((), dtype=torch.float64))
        # One pass over made-up logits finds out which constants the formula uses.
        self.forward(torch.zeros(1, fitted.n_classes or 1024))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Return probabilities ``(n, k)`` float64 of logits ``(n, k)``."""
        result: torch.Tensor = self.fitted.formula(TorchOps(self), logits.to(torch.float64))
        return result


class TorchOps:
    """:class:`calbench.calibrators._array_ops.Ops` on torch, its constants kept in a module's buffers."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def constant(self, name: str, values: npt.ArrayLike) -> torch.Tensor:
        if name not in self.module._buffers:
            array = np.array(values, dtype=np.float64, order="C")  # safetensors takes no other
            self.module.register_buffer(name, torch.from_numpy(array))
        buffer: torch.Tensor = getattr(self.module, name)
        return buffer

    def softmax(self, z: Any) -> Any:
        return torch.softmax(z, dim=-1)

    def exp(self, x: Any) -> Any:
        return torch.exp(x)

    def log(self, x: Any) -> Any:
        return torch.log(x)

    def tanh(self, x: Any) -> Any:
        return torch.tanh(x)

    def minimum(self, a: Any, b: Any) -> Any:
        return torch.clamp(a, max=b) if isinstance(b, float) else torch.minimum(a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        return torch.clamp(a, min=b) if isinstance(b, float) else torch.maximum(a, b)

    def where(self, mask: Any, a: Any, b: Any) -> Any:
        a, b = (mask.new_full((), v, dtype=torch.float64) if isinstance(v, float) else v for v in (a, b))
        return torch.where(mask, a, b)

    def sum(self, x: Any) -> Any:
        return x.sum(dim=-1, keepdim=True)

    def max(self, x: Any) -> Any:
        return x.amax(dim=-1, keepdim=True)

    def top(self, x: Any, k: int) -> Any:
        return torch.topk(x, k, dim=-1).values

    def is_top(self, x: Any) -> Any:
        # argmax names any of tied entries; the first is the one before which there is no other.
        tied = x == x.amax(dim=-1, keepdim=True)
        return tied & (tied.to(torch.int64).cumsum(dim=-1) == 1)  # ONNX sums no bool

    def concat(self, parts: list[Any]) -> Any:
        return torch.cat(parts, dim=-1)

    def bucket(self, x: Any, edges: Any) -> Any:
        return (x[..., None] > edges).sum(dim=-1)  # searchsorted has no ONNX operator
